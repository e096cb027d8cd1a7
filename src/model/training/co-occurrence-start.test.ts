import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { inShards } from '../../../test/support/in-shards.ts';
import { makeShop, shopDataset } from '../../../test/support/shop.ts';
import type { Dataset } from '../../data/dataset.ts';
import { oneShard } from '../../data/shards.ts';
import { microDataset, type MicroEvent } from '../../../test/support/micro-dataset.ts';
import { coOccurrenceRows } from './co-occurrence-start.ts';

const HOUR = 3600;

/** Each basket is one visit of its own user, with events one second apart. */
function datasetOf(itemCount: number, baskets: readonly (readonly number[])[]): Dataset {
  const events = baskets.flatMap((items, user) =>
    items.map((item, i): MicroEvent => ({ user, item, time: user * HOUR + i })),
  );
  return microDataset(itemCount, events);
}

const everything = (dataset: Dataset): Int32Array => dataset.events.userOffsets.slice(1);

async function rowsOf(
  dataset: Dataset,
  width: number,
  ends = everything,
): Promise<(i: number, j: number) => number> {
  const rows = await coOccurrenceRows(oneShard(dataset), ends, width, 1);
  return (i, j) => {
    let product = 0;
    for (let k = 0; k < width; k++) product += rows[i * width + k]! * rows[j * width + k]!;
    return product;
  };
}

/** cos(i, j) of baskets, as the baselines compute it. */
function cosine(baskets: readonly (readonly number[])[], i: number, j: number): number {
  const holding = (...items: number[]): number =>
    baskets.filter((basket) => items.every((item) => basket.includes(item))).length;
  return holding(i, j) / Math.sqrt(holding(i) * holding(j));
}

describe('rows of co-occurrence', () => {
  it('are equal for items always bought together, orthogonal or 0 for the others', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.integer({ min: 2, max: 5 }), { minLength: 1, maxLength: 4 }),
        fc.integer({ min: 2, max: 4 }),
        async (sizes, times) => {
          let next = 0;
          const groups = sizes.map((size) => Array.from({ length: size }, () => next++));
          const alone = next++;
          const baskets = [...groups, [alone]].flatMap((group) =>
            Array.from({ length: times }, () => group),
          );
          const product = await rowsOf(datasetOf(next, baskets), groups.length + 2);
          for (const [g, group] of groups.entries())
            for (const [h, other] of groups.entries())
              for (const i of group)
                for (const j of other)
                  assert.ok(Math.abs(product(i, j) - (g === h ? 1 : 0)) < 1e-5);
          assert.equal(product(alone, alone), 0);
        },
      ),
      { numRuns: 20 },
    );
  });

  it('order the neighbours of an item as the cosine does when the rank is full', async () => {
    // Pairs of different strength around item 0.
    const baskets = [
      ...Array.from({ length: 9 }, () => [0, 1]),
      ...Array.from({ length: 5 }, () => [0, 2]),
      ...Array.from({ length: 2 }, () => [0, 3]),
      ...Array.from({ length: 4 }, () => [3, 4]),
      ...Array.from({ length: 6 }, () => [2, 4]),
    ];
    const product = await rowsOf(datasetOf(5, baskets), 5);
    const by = (score: (i: number, j: number) => number): number[] =>
      [1, 2, 3, 4].sort((a, b) => score(0, b) - score(0, a));
    assert.deepEqual(
      by(product),
      by((i, j) => cosine(baskets, i, j)),
    );
  });

  it('do not depend on shards or on events after the training cut', async () => {
    const dataset = shopDataset(makeShop({ items: 40, users: 50, seed: 4 }));
    const ends = (part: Dataset): Int32Array =>
      part.events.userOffsets.slice(1).map((end, user) => {
        const begin = part.events.userOffsets[user]!;
        return begin + Math.ceil((end - begin) / 2);
      });
    const whole = await coOccurrenceRows(oneShard(dataset), ends, 8, 1);
    const parts = await coOccurrenceRows(inShards(dataset, [7, 30]), ends, 8, 1);
    assert.deepEqual(parts, whole);

    const { events } = dataset;
    const items = events.items.slice();
    const seen = ends(dataset);
    for (let user = 0; user < dataset.users.count; user++)
      items.fill(0, seen[user], events.userOffsets[user + 1]);
    const changed = { ...dataset, events: { ...events, items } };
    assert.deepEqual(await coOccurrenceRows(oneShard(changed), ends, 8, 1), whole);
    assert.notDeepEqual(await coOccurrenceRows(oneShard(dataset), everything, 8, 1), whole);
  });
});
