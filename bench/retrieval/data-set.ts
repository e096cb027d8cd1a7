// Data sets of the retrieval benchmarks, made once and kept in bench/cache: item vectors, two sets of queries, their true
// best. Kept as raw little-endian arrays, so that peers in other languages read the same bytes.

import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { writeFileSynced, writeFolderAtomic } from '../../src/files.ts';
import { nativeAddon, packageRoot } from '../../src/native/binding.ts';
import { newSearchOutput } from '../../src/retrieval/search-plan.ts';
import { say } from '../harness.ts';
import { clusteredRows, K, queriesNear, WIDTH } from '../vectors.ts';
import { towerData } from './tower-data.ts';

/** `calibration` chooses parameters, `test` gives the numbers: a parameter never sees what it is judged on. */
export type Split = 'calibration' | 'test';

export interface DataSet {
  /** What the page calls it; no comma, which ends it in the names of cases. */
  readonly name: string;
  /** Holds <file>.f32 and <file>.i32 of DATA_FILES; indexes built over it are kept beside them. */
  readonly folder: string;
  readonly size: number;
}

export const DATA_FILES = {
  vectors: 'vectors.f32',
  queries: (split: Split): string => `${split}-queries.f32`,
  truth: (split: Split): string => `${split}-truth.i32`,
} as const;

export interface RawData {
  /** [N, WIDTH] f32 unit rows. */
  readonly vectors: Float32Array;
  /** [any, WIDTH] f32 unit rows, those of the calibration first. */
  readonly queries: Float32Array;
}

/** Queries that choose a parameter; the rest, at least TEST_QUERIES, are for the numbers. */
const CALIBRATION_QUERIES = 400;
const TEST_QUERIES = 1_600;
/** Raise when data or files change, so that a cache of before is not taken for one of now. */
const VERSION = 1;

/** Random centres with noise around them; queries near items. */
export function clusteredDataSet(size: number): Promise<DataSet> {
  return open(`Gaussian clusters ${shortSize(size)}`, `clusters-${size}`, size, () => {
    const vectors = clusteredRows(size, 1);
    return { vectors, queries: queriesNear(vectors, CALIBRATION_QUERIES + TEST_QUERIES, 2) };
  });
}

/** Item vectors of a trained item tower, and the query embeddings of requests that training did not see. */
export function towerDataSet(size: number): Promise<DataSet> {
  return open(`item tower ${shortSize(size)}`, `tower-${size}`, size, () => towerData(size));
}

function shortSize(size: number): string {
  return size >= 1e6 ? `${size / 1e6}M` : `${size / 1e3}k`;
}

async function open(
  name: string,
  key: string,
  size: number,
  make: () => RawData | Promise<RawData>,
): Promise<DataSet> {
  const folder = join(packageRoot(), 'bench', 'cache', `${key}-v${VERSION}`);
  if (!existsSync(folder)) {
    say(`making data set: ${name}`);
    const { vectors, queries } = await make();
    await writeFolderAtomic(folder, (temporary) => {
      const write = (file: string, values: Float32Array | Int32Array): void => {
        writeFileSynced(
          join(temporary, file),
          new Uint8Array(values.buffer, values.byteOffset, values.byteLength),
        );
      };
      write(DATA_FILES.vectors, vectors);
      const exact = new (nativeAddon().ExactIndex)(vectors, WIDTH);
      const cut = CALIBRATION_QUERIES * WIDTH;
      const parts = {
        calibration: queries.subarray(0, cut),
        test: queries.subarray(cut, cut + TEST_QUERIES * WIDTH),
      };
      for (const split of ['calibration', 'test'] as const) {
        const rows = parts[split];
        const count = rows.length / WIDTH;
        if (count < CALIBRATION_QUERIES)
          throw new Error(
            `Expected at least ${CALIBRATION_QUERIES} queries to ${split} with, received ${count}.`,
          );
        const truth = newSearchOutput(count, K);
        exact.search(rows, count, K, null, truth);
        write(DATA_FILES.queries(split), rows);
        write(DATA_FILES.truth(split), truth.rows);
      }
    });
  }
  return { name, folder, size };
}

/** An f32 file of a data set, [any]. */
export function readFloats(folder: string, file: string): Float32Array {
  return new Float32Array(wholeBuffer(readFileSync(join(folder, file))));
}

/** An i32 file of a data set, [any]. */
export function readIntegers(folder: string, file: string): Int32Array {
  return new Int32Array(wholeBuffer(readFileSync(join(folder, file))));
}

/** Small files come out of Node's shared pool at any offset; typed arrays want an aligned one. */
function wholeBuffer(bytes: Buffer): ArrayBuffer {
  return bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength) as ArrayBuffer;
}
