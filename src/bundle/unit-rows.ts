// The gate for item vectors, at publishing and at loading.

import { TandemError } from '../errors.ts';

/** A norm further from 1 than this is refused. Float32 rounding stays below 1e-6. */
const NORM_TOLERANCE = 1e-3;

/**
 * Holds item vectors to what an index needs: five NaN rows in 5,000 cut its recall from 1.000 to .036.
 *
 * @throws TandemError ERR_NON_FINITE naming the first row that is NaN, infinite, zero, or not of unit norm.
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
        `Expected item vectors of norm 1, received norm ${norm} for item "${nameOf(row)}" (row ${row}). Encode the items again; if it stays, the item tower has diverged.`,
        { details: { row, item: nameOf(row), norm } },
      );
  }
}
