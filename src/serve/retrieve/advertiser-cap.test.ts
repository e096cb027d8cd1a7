import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { capAdvertisers } from './advertiser-cap.ts';

test('keeps the best of each advertiser, in order, and all of unknown ones', () => {
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: -1, max: 4 }), { maxLength: 40 }),
      fc.integer({ min: 1, max: 5 }),
      fc.uniqueArray(fc.nat(39), { maxLength: 5 }),
      (advertisers, maxEach, excludedRows) => {
        const advertiserRows = Int32Array.from(advertisers);
        // Rows in reverse, so that a row differs from its position.
        const rows = Int32Array.from(advertisers, (_, i) => advertisers.length - 1 - i);
        const scores = Float32Array.from(advertisers, (_, i) => -i);
        const excluded = new Set(excludedRows);
        const kept = capAdvertisers(
          { advertiserRow: (row) => advertiserRows[row]! },
          { rows, scores },
          maxEach,
          excluded,
        );
        const expected = [...rows].filter((row, i) => {
          const advertiser = advertiserRows[row]!;
          if (excluded.has(row)) return false;
          const before = [...rows.subarray(0, i)].filter(
            (other) => advertiserRows[other] === advertiser && !excluded.has(other),
          );
          return advertiser < 0 || before.length < maxEach;
        });
        assert.deepEqual([...kept.rows], expected);
        assert.deepEqual(
          [...kept.scores],
          expected.map((row) => scores[rows.indexOf(row)]),
        );
      },
    ),
  );
});
