// A pool of f32 buffers for one backend: a training step allocates nearly the same sizes again and again, and fresh pages
// cost more than the arithmetic on them (measured: a quarter of a step went to allocation and garbage collection).

/** Smaller arrays are cheap to make and crowd the lists. */
const MIN_POOLED_LENGTH = 1024;
/** Free buffers kept beyond this are left to the garbage collector. */
const MAX_FREE_BYTES = 512 * 1024 * 1024;

/** Hands out arrays with old content and takes them back; knows which buffers are its own. */
export class BufferPool {
  /** By capacity in elements. */
  readonly #free = new Map<number, ArrayBufferLike[]>();
  readonly #owned = new WeakSet<ArrayBufferLike>();
  #freeBytes = 0;

  /** An array of `length` elements whose content is arbitrary: the caller overwrites it in full. */
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

  /** Takes back an array that nobody reads any more; arrays of other origin are ignored. */
  give(values: unknown): void {
    if (!(values instanceof Float32Array) || !this.owns(values)) return;
    const { buffer } = values;
    if (this.#freeBytes + buffer.byteLength > MAX_FREE_BYTES) return;
    const capacity = buffer.byteLength / Float32Array.BYTES_PER_ELEMENT;
    let list = this.#free.get(capacity);
    if (list === undefined) this.#free.set(capacity, (list = []));
    list.push(buffer);
    this.#freeBytes += buffer.byteLength;
  }

  /** Whether an array is a view of a buffer that may be handed out again. */
  owns(values: unknown): boolean {
    return values instanceof Float32Array && this.#owned.has(values.buffer);
  }
}

/** Eight sizes to every power of two: histories are ragged, so a step's sizes are never quite those of the step before. */
function capacityFor(length: number): number {
  const unit = 2 ** (Math.floor(Math.log2(length)) - 3);
  return Math.ceil(length / unit) * unit;
}
