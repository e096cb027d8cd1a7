// The cap on candidates of one advertiser: keeps the best of each.

import type { LiveItems } from '../engine/live-items.ts';
import type { RankedHits } from './hits.ts';

/**
 * Keeps the best `maxEach` hits of each advertiser, in order, and drops excluded hits, which do not
 * count against the cap. Hits of unknown advertisers are all kept, because they need not belong to
 * one advertiser.
 */
export function capAdvertisers(
  items: Pick<LiveItems, 'advertiserRow'>,
  { rows, scores }: RankedHits,
  maxEach: number,
  excluded: ReadonlySet<number>,
): RankedHits {
  const counts = new Map<number, number>();
  const kept: number[] = [];
  for (let i = 0; i < rows.length; i++) {
    const row = rows[i]!;
    if (excluded.has(row)) continue;
    const advertiser = items.advertiserRow(row);
    if (advertiser >= 0) {
      const count = counts.get(advertiser) ?? 0;
      if (count === maxEach) continue;
      counts.set(advertiser, count + 1);
    }
    kept.push(i);
  }
  return {
    rows: Int32Array.from(kept, (i) => rows[i]!),
    scores: Float32Array.from(kept, (i) => scores[i]!),
  };
}
