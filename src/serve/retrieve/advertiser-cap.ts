// At most so many candidates of one advertiser: the best of each, as far down the list as it takes to find k.

import type { LiveItems } from '../engine/live-items.ts';
import type { RankedHits } from './hits.ts';

/**
 * The hits that are left when each advertiser keeps its `maxEach` best, without excluded ones, which do not count. Items
 * of an unknown advertiser are not capped: they need not be of the same one.
 */
export function capAdvertisers(
  items: Pick<LiveItems, 'advertiserRow'>,
  { rows, scores }: RankedHits,
  maxEach: number,
  excluded: ReadonlySet<number>,
): RankedHits {
  const taken = new Map<number, number>();
  const kept: number[] = [];
  for (let i = 0; i < rows.length; i++) {
    const row = rows[i]!;
    if (excluded.has(row)) continue;
    const advertiser = items.advertiserRow(row);
    if (advertiser >= 0) {
      const count = taken.get(advertiser) ?? 0;
      if (count === maxEach) continue;
      taken.set(advertiser, count + 1);
    }
    kept.push(i);
  }
  return {
    rows: Int32Array.from(kept, (i) => rows[i]!),
    scores: Float32Array.from(kept, (i) => scores[i]!),
  };
}
