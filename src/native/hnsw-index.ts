// The native graph index: HNSW of usearch.

import type { Isa } from './isa.ts';
import type { SearchOutput } from './search-output.ts';
import type { Ticket } from './ticket.ts';

export interface HnswOptions {
  /** usearch's M; 0 = its default. */
  readonly connectivity: number;
  readonly expansionAdd: number;
  readonly threads: number;
  /**
   * Called on the JavaScript thread with the share of the items added, at most ten times a second.
   */
  readonly onProgress?: (share: number) => void;
}

export interface NativeHnswIndex {
  readonly size: number;
  readonly dimensions: number;
  readonly connectivity: number;
  readonly isa: Isa;
  /**
   * Finds the approximate top k. An `expansionSearch` below k is raised to k. Allow and out are as
   * for NativeExactIndex.
   */
  search(
    queries: Float32Array,
    count: number,
    k: number,
    expansionSearch: number,
    allow: Uint32Array | null,
    out: SearchOutput,
  ): void;
  /** As search(), on a worker thread; see NativeExactIndex.searchAsync(). */
  searchAsync(...search: Parameters<NativeHnswIndex['search']>): Promise<void>;
  /** The index in usearch's own file format, vectors included. */
  serialize(): Uint8Array;
  share(): Ticket<NativeHnswIndex>;
}

/** Makes graph indexes. */
export interface HnswIndexFactory {
  /**
   * Builds an index on worker threads. With threads = 1 the result is deterministic.
   *
   * @throws Error with code ERR_NON_FINITE for a row that is NaN, infinite or zero.
   */
  build(
    vectors: Float32Array,
    dimensions: number,
    options: HnswOptions,
    isa?: Isa,
  ): Promise<NativeHnswIndex>;
  /**
   * Loads an index on a worker thread. It copies `bytes` and checks header, size, dimensions and
   * every neighbour row. Do not change `bytes` until the promise resolves.
   *
   * @throws Error with code ERR_INDEX_INVALID that states the fault.
   */
  load(bytes: Uint8Array, dimensions: number, isa?: Isa): Promise<NativeHnswIndex>;
  /** Makes the index that another thread has shared. */
  attach(ticket: Ticket<NativeHnswIndex>): NativeHnswIndex;
}
