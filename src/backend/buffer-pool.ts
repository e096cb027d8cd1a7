// A pool of f32 buffers for one backend. A training step allocates nearly the same sizes again and
// again, and fresh memory pages cost more than the arithmetic on them (measured: a quarter of a
// step went to allocation and garbage collection).

/** Smaller arrays are cheap to allocate and are not pooled. */
const MIN_POOLED_LENGTH = 1024;
/** Free buffers beyond this total are left to the garbage collector. */
const MAX_FREE_BYTES = 512 * 1024 * 1024;

/** Lends arrays with arbitrary content and takes them back. It knows which buffers are its own. */
export class BufferPool {
  /** Free buffers by capacity in elements. */
  readonly #free = new Map<number, ArrayBufferLike[]>();
  readonly #owned = new WeakSet<ArrayBufferLike>();
  #freeBytes = 0;

  /** An array of `length` elements with arbitrary content. The caller writes all of them. */
  take(length: number): Float32Array {
    if (length < MIN_POOLED_LENGTH) return new Float32Array(length);
    const capacity = capacityFor(length);
    const reused = this.#free.get(capacity)?.pop();
    if (reused !== undefined) {
      this.#freeBytes -= reused.byteLength;
      return new Float32Array(reused, 0, length);
    }
    const made = new Float32Array(capacity).subarray(0, length);
    this.#owned.add(made.buffer);
    return made;
  }

  /** Takes back an array that nobody reads any more; ignores arrays that are not from this pool. */
  give(values: unknown): void {
    if (!(values instanceof Float32Array) || !this.owns(values)) return;
    const { buffer } = values;
    if (this.#freeBytes + buffer.byteLength > MAX_FREE_BYTES) return;
    const capacity = buffer.byteLength / Float32Array.BYTES_PER_ELEMENT;
    const free = this.#free.get(capacity);
    if (free === undefined) this.#free.set(capacity, [buffer]);
    else free.push(buffer);
    this.#freeBytes += buffer.byteLength;
  }

  /** Whether an array is a view of a buffer of this pool, which may be lent again. */
  owns(values: unknown): boolean {
    return values instanceof Float32Array && this.#owned.has(values.buffer);
  }
}

/**
 * Rounds up to one of eight sizes per power of two: histories are ragged, so the sizes of a step
 * differ slightly from those of the step before.
 */
function capacityFor(length: number): number {
  const unit = 2 ** (Math.floor(Math.log2(length)) - 3);
  return Math.ceil(length / unit) * unit;
}
