import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import type { Dataset } from './dataset.ts';
import { dayStart, eventsBefore, lastEventsSplit, timeCutSplit } from './splits.ts';

/** A dataset with the event times of its users, and no other data. */
function datasetOf(times: readonly (readonly number[])[], hasTime = true): Dataset {
  const userOffsets = new Int32Array(times.length + 1);
  for (const [user, own] of times.entries())
    userOffsets[user + 1] = userOffsets[user]! + own.length;
  return {
    name: 'test',
    hasTime,
    users: { count: times.length },
    events: { times: Float64Array.from(times.flat()), userOffsets },
  } as unknown as Dataset;
}

describe('splits', () => {
  it('starts the day at 00:00 UTC, also before 1970', () => {
    const noon = Date.UTC(2011, 10, 10, 12) / 1000;
    assert.equal(dayStart(noon), Date.UTC(2011, 10, 10) / 1000);
    assert.equal(dayStart(dayStart(noon)), dayStart(noon));
    assert.equal(dayStart(-1), -86_400);
  });

  it('counts the events strictly before an instant', () => {
    const time = fc.integer({ min: 0, max: 20 });
    const own = fc.array(time, { maxLength: 12 }).map((times) => times.sort((a, b) => a - b));
    fc.assert(
      fc.property(fc.array(own, { minLength: 1, maxLength: 5 }), time, (times, instant) => {
        const dataset = datasetOf(times);
        const ends = timeCutSplit(dataset, instant);
        for (const [user, list] of times.entries()) {
          const expected = list.filter((value) => value < instant).length;
          assert.equal(eventsBefore(dataset, user, instant), expected);
          assert.equal(ends[user]! - dataset.events.userOffsets[user]!, expected);
        }
        assert.equal(eventsBefore(dataset, -1, instant), 0);
      }),
    );
  });

  it('holds out the last event, and the one before for validation', () => {
    const dataset = datasetOf([[1, 2, 3, 4], [1, 2], [], [5, 6, 7]]);
    const test = lastEventsSplit(dataset, 'test');
    assert.deepEqual([...test.heldOut], [3, -1, -1, 8]);
    assert.deepEqual([...test.trainEnd], [3, 6, 6, 8]);
    const validation = lastEventsSplit(dataset, 'validation');
    assert.deepEqual([...validation.heldOut], [2, -1, -1, 7]);
    assert.deepEqual([...validation.trainEnd], [2, 6, 6, 7]);
  });

  it('refuses a cut in time where there are positions only', () => {
    assert.throws(
      () => timeCutSplit(datasetOf([[1]], false), 1),
      /ERR_DATASET_INVALID|positions only/,
    );
  });
});
