// Data sets of the retrieval benchmarks: item vectors, two sets of queries, and the true best items
// of each query. They are made once and kept in bench/cache as raw little-endian arrays, so that
// peers in other languages read the same bytes.

import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { writeFileSynced, writeFolderAtomic } from '../../src/files.ts';
import { nativeAddon } from '../../src/native/addon.ts';
import { packageRoot } from '../../src/package-root.ts';
import { newSearchOutput } from '../../src/retrieval/search-plan.ts';
import { say } from '../harness.ts';
import { clusteredRows, K, queriesNear, WIDTH, type RawData } from '../vectors.ts';
import { towerData } from './tower-data.ts';

/**
 * Parameters are chosen on `calibration`; results are measured on `test`, which has other queries.
 */
export type Split = 'calibration' | 'test';

export interface DataSet {
  /** Its name on the page. It has no comma, because a comma ends it in the names of cases. */
  readonly name: string;
  /** Holds the files of DATA_FILES and the indexes that are built over them. */
  readonly folder: string;
  readonly size: number;
}

export const DATA_FILES = {
  vectors: 'vectors.f32',
  queries: (split: Split): string => `${split}-queries.f32`,
  truth: (split: Split): string => `${split}-truth.i32`,
} as const;

/**
 * Number of queries to choose parameters with. The others, at least TEST_QUERIES, are for the
 * results.
 */
const CALIBRATION_QUERIES = 400;
const TEST_QUERIES = 1_600;
/** Raise this when the data or the files change, so that an old cache is not used. */
const VERSION = 1;

/** Items are random centres with noise around them; queries are near items. */
export function clusteredDataSet(size: number): Promise<DataSet> {
  return open(`Gaussian clusters ${shortSize(size)}`, `clusters-${size}`, size, () => {
    const vectors = clusteredRows(size, 1);
    return { vectors, queries: queriesNear(vectors, CALIBRATION_QUERIES + TEST_QUERIES, 2) };
  });
}

/**
 * Item vectors of a trained item tower, and query embeddings of requests that training did not see.
 */
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

/** Reads an f32 file of a data set: [any]. */
export function readFloats(folder: string, file: string): Float32Array {
  return new Float32Array(wholeBuffer(readFileSync(join(folder, file))));
}

/** Reads an i32 file of a data set: [any]. */
export function readIntegers(folder: string, file: string): Int32Array {
  return new Int32Array(wholeBuffer(readFileSync(join(folder, file))));
}

/**
 * Copies the bytes: Node reads small files into a shared pool at any offset, typed arrays need
 * alignment.
 */
function wholeBuffer(bytes: Buffer): ArrayBuffer {
  return bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength) as ArrayBuffer;
}
