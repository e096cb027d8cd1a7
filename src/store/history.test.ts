import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { decodeHistory, encodeHistory, mergeEvents, type HistoryEvent } from './history.ts';

const event = fc.record({
  item: fc.string({ maxLength: 20, unit: 'grapheme' }),
  action: fc.constantFrom('', 'view', 'purchase'),
  time: fc.integer({ min: 0, max: 50 }),
  id: fc.constantFrom('', 'a', 'b', 'c', 'long '.repeat(20)),
});
const few = fc.array(event, { maxLength: 12 });
const happened = ({ item, action, time }: HistoryEvent): string => `${time} ${action} ${item}`;

test('a stored history is unchanged but for its ids, which are shortened once', () => {
  fc.assert(
    fc.property(few, fc.boolean(), (events, complete) => {
      const once = decodeHistory(encodeHistory({ complete, events }), 'u');
      assert.equal(once.complete, complete);
      assert.deepEqual(once.events.map(happened), events.map(happened));
      for (const [i, { id }] of once.events.entries())
        assert.equal(id === '', events[i]!.id === '');
      assert.deepEqual(decodeHistory(encodeHistory(once), 'u'), once);
    }),
  );
});

test('a record with any flipped bit or any truncation is refused', () => {
  const record = encodeHistory({
    complete: true,
    events: [{ item: 'shoe', action: 'view', time: 7, id: 'x' }],
  });
  for (let at = 0; at < record.length; at++)
    for (let bit = 0; bit < 8; bit++) {
      const damaged = Buffer.from(record);
      damaged[at]! ^= 1 << bit;
      assert.throws(() => decodeHistory(damaged, 'u'), { code: 'ERR_STORE_CORRUPT' });
    }
  for (let length = 0; length < record.length; length++)
    assert.throws(() => decodeHistory(record.subarray(0, length), 'u'), {
      code: 'ERR_STORE_CORRUPT',
    });
});

test('merged events are distinct and in order of time, also after a stored round trip', () => {
  fc.assert(
    fc.property(few, few, (a, b) => {
      const first = mergeEvents([], a, 100);
      const stored = decodeHistory(encodeHistory({ complete: true, events: first.events }), 'u');
      const second = mergeEvents(stored.events, b, 100);
      assert.equal(first.added + second.added, second.events.length);
      for (let i = 1; i < second.events.length; i++)
        assert.ok(second.events[i - 1]!.time <= second.events[i]!.time);
      assert.equal(new Set(second.events.map(happened)).size, second.events.length);
      const ids = second.events.map(({ id }) => id).filter((id) => id !== '');
      assert.equal(new Set(ids).size, ids.length);
      // Every event was given, and sending all of them again changes nothing.
      const given = new Set([...a, ...b].map(happened));
      assert.ok(second.events.every((one) => given.has(happened(one))));
      const again = mergeEvents(second.events, [...b, ...a], 100);
      assert.deepEqual(again, { events: second.events, added: 0 });
    }),
  );
});

test('an event without action is the same as one of its second and item with any action', () => {
  const one = (action: string, id = '', time = 5): HistoryEvent => ({
    item: 'shoe',
    action,
    time,
    id,
  });
  const merge = (known: HistoryEvent[], added: HistoryEvent[]): unknown => {
    const { events, added: count } = mergeEvents(known, added, 9);
    return [count, ...events.map(({ action, id }) => `${action}/${id}`)];
  };
  assert.deepEqual(merge([one('view')], [one('')]), [0, 'view/']);
  assert.deepEqual(merge([one('')], [one('view')]), [0, 'view/']);
  // The action that came second is another event.
  assert.deepEqual(merge([one('')], [one('view'), one('buy')]), [1, 'view/', 'buy/']);
  assert.deepEqual(merge([one('view')], [one('view', 'x'), one('view', 'y')]), [0, 'view/x']);
  // A repeated id is a repetition, also with another time, which changes nothing.
  assert.deepEqual(merge([one('', 'x')], [one('view', 'x', 7)]), [0, '/x']);
  assert.deepEqual(merge([one('view')], [one('', '', 6)]), [1, 'view/', '/']);
});

test('the newest events are kept', () => {
  const events = [5, 1, 4, 2, 3].map((time) => ({ item: `i${time}`, action: '', time, id: '' }));
  const { events: kept, added } = mergeEvents([], events, 3);
  assert.deepEqual([kept.map(({ time }) => time), added], [[3, 4, 5], 5]);
});
