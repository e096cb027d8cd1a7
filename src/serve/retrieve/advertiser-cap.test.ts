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
      (advertisers, maxEach, excludedSlots) => {
        const advertiserRows = Int32Array.from(advertisers);
        // Slots in reverse, so that a slot is not its own place in the list.
        const slots = Int32Array.from(advertisers, (_, i) => advertisers.length - 1 - i);
        const scores = Float32Array.from(advertisers, (_, i) => -i);
        const excluded = new Set(excludedSlots);
        const kept = capAdvertisers(
          { advertiserRow: (slot) => advertiserRows[slot]! },
          { slots, scores },
          maxEach,
          excluded,
        );
        const expected = [...slots].filter((slot, i) => {
          const advertiser = advertiserRows[slot]!;
          if (excluded.has(slot)) return false;
          const before = [...slots.subarray(0, i)].filter(
            (other) => advertiserRows[other] === advertiser && !excluded.has(other),
          );
          return advertiser < 0 || before.length < maxEach;
        });
        assert.deepEqual([...kept.slots], expected);
        assert.deepEqual(
          [...kept.scores],
          expected.map((slot) => scores[slots.indexOf(slot)]),
        );
      },
    ),
  );
});
