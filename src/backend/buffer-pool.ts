// A pool of f32 buffers for one backend: a training step allocates the same sizes again and again, and fresh pages cost
// more than the arithmetic on them (measured: a quarter of a step went to allocation and garbage collection).

/** Smaller arrays are cheap to make and crowd the lists. */
const MIN_POOLED_LENGTH = 1024;
/** Free buffers kept beyond this are left to the garbage collector. */
const MAX_FREE_BYTES = 512 * 1024 * 1024;

/** Hands out arrays with old content and takes them back; knows which buffers are its own. */
export class BufferPool {
  readonly #free = new Map<number, Float32Array[]>();
  readonly #owned = new WeakSet<ArrayBufferLike>();
  #freeBytes = 0;

  /** An array of `length` elements whose content is arbitrary: the caller overwrites it in full. */
  take(length: number): Float32Array {
    if (length < MIN_POOLED_LENGTH) return new Float32Array(length);
    const reused = this.#free.get(length)?.pop();
    if (reused !== undefined) {
      this.#freeBytes -= reused.byteLength;
      return reused;
    }
    const made = new Float32Array(length);
    this.#owned.add(made.buffer);
    return made;
  }

  /** Takes back an array that nobody reads any more; arrays of other origin are ignored. */
  give(values: unknown): void {
    if (!(values instanceof Float32Array) || !this.owns(values)) return;
    if (this.#freeBytes + values.byteLength > MAX_FREE_BYTES) return;
    let list = this.#free.get(values.length);
    if (list === undefined) this.#free.set(values.length, (list = []));
    list.push(values);
    this.#freeBytes += values.byteLength;
  }

  /** Whether an array is a view of a buffer that may be handed out again. */
  owns(values: unknown): boolean {
    return values instanceof Float32Array && this.#owned.has(values.buffer);
  }
}
