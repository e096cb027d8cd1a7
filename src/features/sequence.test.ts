import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { GAP_BUCKETS } from './schema.ts';
import { gapBucket, HistoryBatchBuilder, stateAge, type EventColumns } from './sequence.ts';

const seconds = fc.integer({ min: 0, max: 2_000_000_000 });
const history = fc
  .array(
    fc.record({
      item: fc.integer({ min: 0, max: 99 }),
      action: fc.integer({ min: 0, max: 5 }),
      time: seconds,
    }),
    { minLength: 1, maxLength: 20 },
  )
  .map((events) => events.sort((a, b) => a.time - b.time));

function columnsOf(
  events: readonly { item: number; action: number; time: number }[],
): EventColumns {
  return {
    items: events.map(({ item }) => item),
    actions: events.map(({ action }) => action),
    times: events.map(({ time }) => time),
  };
}

/** [item, action, gap] of each event of a written history. */
function written(
  events: EventColumns,
  begin: number,
  end: number,
  length: number,
): readonly (readonly [number, number, number])[] {
  // The history is between two others, which must stay as they are.
  const builder = new HistoryBatchBuilder(length);
  const other = columnsOf([{ item: 77, action: 7, time: 0 }]);
  builder.add(other, 0, 1);
  builder.add(events, begin, end);
  builder.add(other, 0, 1);
  const { offsets, items, actions, gaps } = builder.batch();
  const kept = Math.min(length, end - begin);
  assert.deepEqual([...offsets], [0, 1, 1 + kept, 2 + kept]);
  assert.equal(builder.eventCount, 2 + kept);
  for (const at of [0, 1 + kept]) assert.deepEqual([items[at], actions[at], gaps[at]], [77, 7, 0]);
  return Array.from({ length: kept }, (_, i) => [items[1 + i]!, actions[1 + i]!, gaps[1 + i]!]);
}

describe('HistoryBatchBuilder', () => {
  it('keeps the last T events, oldest first', () => {
    fc.assert(
      fc.property(history, fc.integer({ min: 1, max: 24 }), (events, length) => {
        const row = written(columnsOf(events), 0, events.length, length);
        assert.deepEqual(
          row.map(([item, action]) => [item, action]),
          events.slice(-length).map(({ item, action }) => [item, action]),
        );
      }),
    );
  });

  it('gives an event the same features whatever the window', () => {
    fc.assert(
      fc.property(
        history,
        fc.integer({ min: 1, max: 24 }),
        fc.integer({ min: 1, max: 24 }),
        fc.nat(),
        (events, long, short, cut) => {
          const columns = columnsOf(events);
          const begin = cut % events.length;
          const wide = written(columns, begin, events.length, Math.max(long, short));
          const narrow = written(columns, begin, events.length, Math.min(long, short));
          assert.deepEqual(narrow, wide.slice(wide.length - narrow.length));
        },
      ),
    );
  });

  it('counts the gap of the first kept event from the event before it', () => {
    const columns = columnsOf([0, 600, 660].map((time) => ({ item: 1, action: 1, time })));
    const gaps = written(columns, 0, 3, 2).map(([, , gap]) => gap);
    assert.deepEqual(gaps, [gapBucket(600), gapBucket(60)]);
    // Events before `begin` are not of this user.
    assert.deepEqual(
      written(columns, 1, 3, 2).map(([, , gap]) => gap),
      [0, gapBucket(60)],
    );
  });

  it('accepts a history without events', () => {
    assert.deepEqual(written(columnsOf([]), 0, 0, 2), []);
  });
});

describe('gapBucket', () => {
  it('grows with the gap, stays in its table and is never the bucket of first events', () => {
    fc.assert(
      fc.property(seconds, seconds, (a, b) => {
        const [short, long] = [gapBucket(Math.min(a, b)), gapBucket(Math.max(a, b))];
        assert.ok(short <= long && short >= 1 && long < GAP_BUCKETS);
      }),
    );
    assert.equal(gapBucket(59.9), 1);
    assert.equal(gapBucket(60), 2);
    assert.equal(gapBucket(120), 3);
    assert.equal(gapBucket(-5), 1);
    assert.equal(gapBucket(Number.NaN), 1);
    assert.equal(gapBucket(1e12), GAP_BUCKETS - 1);
  });
});

describe('stateAge', () => {
  it('never falls as time passes, and stays within 0 and 1', () => {
    fc.assert(
      fc.property(seconds, seconds, seconds, (last, a, b) => {
        const [early, late] = [stateAge(last, Math.min(a, b)), stateAge(last, Math.max(a, b))];
        assert.ok(early >= 0 && early <= late && late <= 1);
      }),
    );
  });

  it('is 0 until now, and 1 after a year', () => {
    const year = 365 * 86_400;
    assert.equal(stateAge(1000, 1000), 0);
    assert.equal(stateAge(1000, 0), 0);
    assert.equal(stateAge(0, year), 1);
    assert.equal(stateAge(0, 10 * year), 1);
    assert.ok(stateAge(0, year - 3600) < 1);
    assert.ok(stateAge(0, 3600) > stateAge(0, 60));
  });
});
