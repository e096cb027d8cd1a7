// Rows of matrices on the request path.

/** Row `row` of a row-major matrix [n, width], as a view of the same memory. */
export function rowOf(matrix: Float32Array, row: number, width: number): Float32Array {
  return matrix.subarray(row * width, (row + 1) * width);
}
