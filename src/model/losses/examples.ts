// What an example of a step is, as far as its loss goes, and which pairs of example and column are no negatives.

/** E examples; those of one user are answers to each other's queries. */
export interface LossExamples {
  /** [E] item slots. */
  readonly positives: Int32Array;
  /** [E] user of each example, by row in the step. */
  readonly users: Int32Array;
  /** [E] weights, summing to 1. */
  readonly weights: Float32Array;
}

/** Pairs (example, column) that add nothing to a loss, as parallel arrays. */
export interface MaskedPairs {
  readonly rows: Int32Array;
  readonly columns: Int32Array;
}

/**
 * Accidental hits: columns that hold the example's own positive, or another positive of its user in this step.
 *
 * @param slots - [C] item of each column.
 */
export function accidentalHits(examples: LossExamples, slots: Int32Array): MaskedPairs {
  const columnsOf = indicesOf(slots);
  let count = 0;
  const groups = [...indicesOf(examples.users).values()].map((own) => {
    const positives = new Set(own.map((e) => examples.positives[e]!));
    const hits = [...positives].flatMap((slot) => columnsOf.get(slot) ?? []);
    count += own.length * hits.length;
    return { own, hits };
  });
  const rows = new Int32Array(count);
  const columns = new Int32Array(count);
  let pair = 0;
  for (const { own, hits } of groups)
    for (const e of own)
      for (const column of hits) {
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
