// A least-recently-used map: Map keeps insertion order, so the first key is the oldest.

export class LruCache<Value> {
  readonly #capacity: number;
  readonly #entries = new Map<string, Value>();

  constructor(capacity: number) {
    this.#capacity = capacity;
  }

  get size(): number {
    return this.#entries.size;
  }

  /** The value of `key`, made by `make` when it is not there; `key` becomes the newest. */
  getOrMake(key: string, make: () => Value): Value {
    const found = this.#entries.get(key);
    if (found !== undefined) this.#entries.delete(key);
    const value = found ?? make();
    this.#entries.set(key, value);
    if (this.#entries.size > this.#capacity) {
      const oldest = this.#entries.keys().next();
      if (oldest.done !== true) this.#entries.delete(oldest.value);
    }
    return value;
  }
}
