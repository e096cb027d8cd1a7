// Prints the f32 rate of one thread in GFLOP/s, measured on a matrix product. It is a process of
// its own, because the thread pool reads its size from TANDEM_THREADS once.

import { nativeAddon } from '../src/native/addon.ts';

const SIZE = 1024;
const RUNS = 20;

const a = new Float32Array(SIZE * SIZE).fill(0.5);
const b = new Float32Array(SIZE * SIZE).fill(0.25);
const out = new Float32Array(SIZE * SIZE);
let bestMs = Infinity;
for (let run = 0; run < RUNS; run++) {
  const startMs = performance.now();
  nativeAddon().ops.matmul(a, b, out, 1, SIZE, SIZE, SIZE, false, false, 0, 0, null, false);
  bestMs = Math.min(bestMs, performance.now() - startMs);
}
process.stdout.write(`${(2 * SIZE ** 3) / (bestMs * 1e6)}\n`);
