// What an example of a step is, as far as its loss goes, and which pairs of example and column are no negatives.

import type { MaskedPairs } from '../../backend/fused.ts';

/** E examples; those of one user are answers to each other's queries. */
export interface LossExamples {
  /** [E] item slots. */
  readonly positives: Int32Array;
  /** [E] user of each example, by row in the step. */
  readonly users: Int32Array;
  /** [E] weights, summing to 1. */
  readonly weights: Float32Array;
}

/**
 * Accidental hits: columns that hold the example's own positive, or another positive of its user in this step.
 *
 * @param slots - [C] item of each column.
 * @returns pairs by ascending example.
 */
export function accidentalHits(examples: LossExamples, slots: Int32Array): MaskedPairs {
  const columnsOf = indicesOf(slots);
  const hitsOf = new Map<number, number[]>();
  let count = 0;
  for (const [user, own] of indicesOf(examples.users)) {
    const positives = new Set(own.map((e) => examples.positives[e]!));
    const hits = [...positives].flatMap((slot) => columnsOf.get(slot) ?? []);
    hitsOf.set(user, hits);
    count += own.length * hits.length;
  }
  const rows = new Int32Array(count);
  const columns = new Int32Array(count);
  let pair = 0;
  for (const [e, user] of examples.users.entries())
    for (const column of hitsOf.get(user)!) {
      rows[pair] = e;
      columns[pair++] = column;
    }
  return { rows, columns };
}

/** Indices of each value. */
function indicesOf(values: Int32Array): Map<number, number[]> {
  const groups = new Map<number, number[]>();
  for (const [i, value] of values.entries()) {
    const group = groups.get(value);
    if (group === undefined) groups.set(value, [i]);
    else group.push(i);
  }
  return groups;
}
