// The native cluster index: k-means partitions of 8-bit codes.

import type { Isa } from './isa.ts';
import type { SearchOutput } from './search-output.ts';
import type { Ticket } from './ticket.ts';

export interface ClusterOptions {
  /**
   * [Q, D] unit rows to calibrate with, Q >= 2, from the distribution of later searches; copied.
   */
  readonly queries: Float32Array;
  /** Size of the result list to which recallTarget refers. */
  readonly k: number;
  /** Share of the true top k that must be found, in (0, 1]. */
  readonly recallTarget: number;
  /**
   * Called on the JavaScript thread with the share of the work done, at most ten times a second.
   */
  readonly onProgress?: (share: number) => void;
}

/**
 * k-means partitions of 8-bit codes. A search scans as many as the calibrated recall needs, then
 * scores the best again in f32.
 */
export interface NativeClusterIndex {
  readonly size: number;
  readonly dimensions: number;
  readonly clusters: number;
  /** Share of the true top k that was found for calibration queries that were held out. */
  readonly recall: number;
  readonly isa: Isa;
  /**
   * Finds the approximate top k with exact scores, ties by lower row; k of them if k are allowed.
   * Queries, allow (bitset or null) and out are as for NativeExactIndex.
   *
   * @param selectivity - share of the vectors that `allow` leaves, 1 for null. The smaller it is,
   *   the more partitions are scanned.
   */
  search(
    queries: Float32Array,
    count: number,
    k: number,
    allow: Uint32Array | null,
    selectivity: number,
    out: SearchOutput,
  ): void;
  /** As search(), on a worker thread; see NativeExactIndex.searchAsync(). */
  searchAsync(...search: Parameters<NativeClusterIndex['search']>): Promise<void>;
  /** The index without its vectors, in the package's own format. */
  serialize(): Uint8Array;
  share(): Ticket<NativeClusterIndex>;
}

/** Makes cluster indexes. */
export interface ClusterIndexFactory {
  /**
   * Builds an index on worker threads, one for each core. The result depends on the vectors alone.
   * It refers to `vectors` [N, D] without a copy, so do not change or transfer them.
   *
   * @throws Error with code ERR_NON_FINITE for a row that is NaN, infinite or zero.
   */
  build(
    vectors: Float32Array,
    dimensions: number,
    options: ClusterOptions,
    isa?: Isa,
  ): Promise<NativeClusterIndex>;
  /**
   * Loads an index on a worker thread. It copies `bytes` after checking all of them and refers to
   * `vectors`. Do not change either until the promise resolves.
   *
   * @throws Error with code ERR_INDEX_INVALID that states the fault.
   */
  load(
    bytes: Uint8Array,
    vectors: Float32Array,
    dimensions: number,
    isa?: Isa,
  ): Promise<NativeClusterIndex>;
  /**
   * Makes the index that another thread has shared.
   *
   * @param vectors - this thread's view of the vectors of that index, in shared memory.
   */
  attach(ticket: Ticket<NativeClusterIndex>, vectors: Float32Array): NativeClusterIndex;
}
