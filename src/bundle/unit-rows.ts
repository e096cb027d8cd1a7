// Checks item vectors when a bundle is published and when it is loaded.

import { TandemError } from '../errors.ts';

/** Largest difference of a norm from 1. Rounding to f32 stays below 1e-6. */
const NORM_TOLERANCE = 1e-3;

/**
 * Checks that every item vector is finite and of norm 1, as an index needs it: five NaN rows in
 * 5,000 cut its recall from 1.000 to 0.036.
 *
 * @param vectors - [N, width].
 * @param nameOf - id of the item of a row, for the message.
 * @throws TandemError ERR_NON_FINITE naming the first row that is NaN, infinite, zero, or not of
 *   norm 1.
 */
export function checkUnitRows(
  vectors: Float32Array,
  width: number,
  nameOf: (row: number) => string,
): void {
  for (let row = 0; row * width < vectors.length; row++) {
    let squares = 0;
    for (let i = row * width; i < (row + 1) * width; i++) squares += vectors[i]! * vectors[i]!;
    const norm = Math.sqrt(squares);
    if (!(Math.abs(norm - 1) <= NORM_TOLERANCE))
      throw new TandemError(
        'ERR_NON_FINITE',
        `Expected item vectors of norm 1, received norm ${norm} for item "${nameOf(row)}" ` +
          `(row ${row}). Encode the items again; if it stays, the item tower has diverged.`,
        { details: { row, item: nameOf(row), norm } },
      );
  }
}
