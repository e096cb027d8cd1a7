// Rows of matrices on the request path: views, nothing is copied.

export function rowOf(matrix: Float32Array, row: number, width: number): Float32Array {
  return matrix.subarray(row * width, (row + 1) * width);
}
