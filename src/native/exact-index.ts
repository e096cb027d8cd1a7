// The native exact index: a scan of all vectors.

import type { Isa } from './isa.ts';
import type { SearchOutput } from './search-output.ts';
import type { Ticket } from './ticket.ts';

export interface NativeExactIndex {
  readonly size: number;
  readonly dimensions: number;
  readonly isa: Isa;
  /**
   * Finds the true top k by inner product, ties by lower row.
   *
   * @param queries - [B, D] f32, finite, not zero.
   * @param count - B.
   * @param allow - the items that may be returned, for all B queries: null for every item; a bitset
   *   of `size` bits, little-endian in u32 words (bit i of word i >> 5); or the distinct rows
   *   themselves, if they are few, because then nothing else is read.
   */
  search(
    queries: Float32Array,
    count: number,
    k: number,
    allow: Uint32Array | Int32Array | null,
    out: SearchOutput,
  ): void;
  /**
   * As search(), on a worker thread. Do not change the arrays until the promise resolves. Wrong
   * arguments are thrown at once.
   */
  searchAsync(...search: Parameters<NativeExactIndex['search']>): Promise<void>;
  /**
   * Adds 8-bit codes of D bytes a vector. From then on searches scan them instead of the vectors,
   * with the same results: about 4 times faster for batches (npm run bench -- retrieval), with a
   * quarter of the memory traffic. TypeError after share().
   */
  addCodes(): void;
  /** Writes the inner products of one query [D] with the given rows into out [rows.length]. */
  score(query: Float32Array, rows: Int32Array, out: Float32Array): void;
  share(): Ticket<NativeExactIndex>;
}
