import assert from 'node:assert/strict';
import { it } from 'node:test';
import fc from 'fast-check';
import { microDataset, microRequest } from '../../test/support/micro-dataset.ts';
import { timeProtocol } from './protocols.ts';
import { staleQueries } from './staleness.ts';

const DAY = 86_400;
const CUT = 50 * DAY;

it('stale states know only the events before 00:00 UTC of an earlier day', () => {
  const days = fc.integer({ min: 0, max: 60 });
  const seconds = fc.array(fc.integer({ min: 0, max: 60 * DAY }), { minLength: 1, maxLength: 20 });
  fc.assert(
    fc.property(seconds, fc.integer({ min: CUT, max: 60 * DAY }), days, (times, at, late) => {
      const dataset = microDataset(
        3,
        [{ user: 0, item: 1, time: 0 }, ...times.map((time) => ({ user: 0, item: 0, time }))],
        [
          microRequest({
            id: 'r',
            user: 0,
            time: at,
            subject: { kind: 'none' },
            positives: [1],
          }),
        ],
        CUT,
      );
      const { queries } = timeProtocol(dataset, { form: 'all' });
      const [stale] = staleQueries(queries, dataset, late);
      const before = (Math.floor(at / DAY) - late) * DAY;
      const known = [0, ...times].filter((time) => time < before).length;
      assert.deepEqual(stale, { ...queries[0]!, historyEnd: queries[0]!.historyBegin + known });
      if (late === 0) assert.deepEqual(stale, queries[0]);
    }),
  );
});
