// Opens a bundle for programs that read its items and vectors.

import * as loading from '../bundle/load.ts';
import type { BundleManifest } from '../bundle/manifest.ts';

/** The items of a bundle, by row. */
export interface Catalogue {
  /** N: number of items. */
  readonly count: number;
  /** Id of an item. */
  id(row: number): string;
  /** Row of an item id, or -1. */
  row(id: string): number;
  /** Title; empty string when unknown. */
  title(row: number): string;
  /** Name of the advertiser; empty string when unknown. */
  advertiser(row: number): string;
  /** Price; NaN when unknown. */
  price(row: number): number;
  /** Names of the countries that the item targets; none means everywhere. */
  targetCountries(row: number): string[];
}

/** A checked bundle in memory. Changes on disk do not change it. */
export interface Bundle {
  /** Absolute path. */
  readonly directory: string;
  readonly manifest: BundleManifest;
  readonly catalogue: Catalogue;
  /** [N, D] f32 unit rows, row-major, in catalogue order. Do not change them. */
  readonly vectors: Float32Array;
}

/**
 * Reads a bundle into memory and checks its sizes, digests, formats, counts and ids.
 *
 * The score of an item is the dot product of its vector and the query embedding that
 * CandidateGenerator.embedding() returns. verifyBundle() also replays the golden requests.
 *
 * @param path - a bundle directory, or a directory of bundles with a current one.
 * @throws TandemError ERR_BUNDLE_NOT_FOUND; ERR_BUNDLE_INVALID naming the file, the expected value
 *   and the received value; ERR_NON_FINITE for item vectors that are not unit rows.
 */
export async function loadBundle(path: string): Promise<Bundle> {
  return loading.loadBundle(path);
}
