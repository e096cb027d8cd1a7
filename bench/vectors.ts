// Data of the retrieval benchmarks: clustered unit vectors, as a trained item tower makes them, and
// queries near them.

import { Random } from '../src/random.ts';

export const WIDTH = 64;
export const K = 100;

/** Item vectors and queries, before they are written to files. */
export interface RawData {
  /** [N, WIDTH] f32 unit rows. */
  readonly vectors: Float32Array;
  /** [any, WIDTH] f32 unit rows; the first ones are for calibration. */
  readonly queries: Float32Array;
}

const ITEMS_PER_CLUSTER = 100;
/** Length of the noise around a cluster's centre; the centre has length 1. */
const CLUSTER_NOISE = 0.7;
const QUERY_NOISE = 0.3;

/** [count, WIDTH] f32 unit rows around count / ITEMS_PER_CLUSTER random centres. */
export function clusteredRows(count: number, seed: number): Float32Array {
  const random = new Random(seed);
  const centres = Math.ceil(count / ITEMS_PER_CLUSTER);
  const centre = unitRows(Float32Array.from({ length: centres * WIDTH }, () => random.normal()));
  const rows = new Float32Array(count * WIDTH);
  for (let row = 0; row < count; row++)
    addNoisy(rows, row, centre, random.integer(centres), CLUSTER_NOISE, random);
  return unitRows(rows);
}

/** [count, WIDTH] f32 unit rows, each near a row of `vectors`. */
export function queriesNear(vectors: Float32Array, count: number, seed: number): Float32Array {
  const random = new Random(seed);
  const queries = new Float32Array(count * WIDTH);
  for (let row = 0; row < count; row++)
    addNoisy(queries, row, vectors, random.integer(vectors.length / WIDTH), QUERY_NOISE, random);
  return unitRows(queries);
}

function addNoisy(
  out: Float32Array,
  row: number,
  sources: Float32Array,
  source: number,
  noise: number,
  random: Random,
): void {
  const deviation = noise / Math.sqrt(WIDTH);
  for (let i = 0; i < WIDTH; i++)
    out[row * WIDTH + i] = sources[source * WIDTH + i]! + deviation * random.normal();
}

/** Scales each row to length 1, in place. */
function unitRows(rows: Float32Array): Float32Array {
  for (let begin = 0; begin < rows.length; begin += WIDTH) {
    let squares = 0;
    for (let i = begin; i < begin + WIDTH; i++) squares += rows[i]! * rows[i]!;
    const scale = 1 / Math.sqrt(squares);
    for (let i = begin; i < begin + WIDTH; i++) rows[i]! *= scale;
  }
  return rows;
}
