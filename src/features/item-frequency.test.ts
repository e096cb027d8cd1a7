import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { itemBoosts, itemFrequencies } from './item-frequency.ts';

const DAY = 86_400;

const histories = fc
  .array(fc.tuple(fc.integer({ min: 0, max: 5 }), fc.integer({ min: 0, max: 400 * DAY })), {
    minLength: 1,
    maxLength: 20,
  })
  .map((events) => events.sort(([, a], [, b]) => a - b))
  .map((events) => ({
    items: events.map(([item]) => item),
    times: events.map(([, time]) => time),
  }));

describe('itemFrequencies', () => {
  it('counts an event as 2^(-age / 90 days) before the newest one, of the window alone', () => {
    fc.assert(
      fc.property(histories, fc.nat(3), fc.integer({ min: 1, max: 25 }), (events, skip, most) => {
        const end = events.items.length;
        const begin = Math.min(skip, end - 1);
        const { items, counts } = itemFrequencies(events, begin, end, most);
        const window = events.items
          .map((item, i) => ({ item, days: (events.times[end - 1]! - events.times[i]!) / DAY }))
          .slice(Math.max(begin, end - most), end);
        assert.deepEqual(new Set(items), new Set(window.map(({ item }) => item)));
        assert.equal(items.length, new Set(items).size);
        for (const [i, item] of items.entries()) {
          const expected = window
            .filter((event) => event.item === item)
            .reduce((sum, { days }) => sum + 2 ** (-days / 90), 0);
          assert.ok(Math.abs(counts[i]! - expected) < 1e-9 * expected);
        }
      }),
    );
  });

  it('has nothing to count in an empty history', () => {
    assert.equal(itemFrequencies({ items: [], times: [] }, 0, 0, 4).items.length, 0);
  });
});

describe('itemBoosts', () => {
  it('gives w ln(1 + g n), by ascending row, more for what a user had more often', () => {
    fc.assert(
      fc.property(
        histories,
        fc.double({ min: -4, max: 1, noNaN: true }),
        fc.double({ min: -1, max: 6, noNaN: true }),
        (events, logWeight, logGain) => {
          const frequencies = itemFrequencies(events, 0, events.items.length, 20);
          const { items, boosts } = itemBoosts(frequencies, { logWeight, logGain });
          assert.deepEqual(items, frequencies.items.slice().sort());
          for (const [i, item] of items.entries()) {
            const n = frequencies.counts[frequencies.items.indexOf(item)]!;
            const expected = Math.exp(logWeight) * Math.log(1 + Math.exp(logGain) * n);
            assert.ok(Math.abs(boosts[i]! - expected) <= 1e-6 * expected + 1e-12);
            assert.ok(boosts[i]! >= 0);
          }
        },
      ),
    );
  });
});
