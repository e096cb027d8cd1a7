// Which items may be returned: one bit an item, in the layout that the native indexes read.

/** A set of slots in [0, size). Bits past `size` are always 0, so counting needs no mask. */
export class AllowList {
  readonly size: number;
  /** [ceil(size / 32)]: bit i of word i >> 5. Write through the methods, or call recount() after writing. */
  readonly words: Uint32Array;
  #count: number;
  #slots: Int32Array | undefined;

  private constructor(size: number, words: Uint32Array, count: number) {
    this.size = size;
    this.words = words;
    this.#count = count;
  }

  /** No item. */
  static none(size: number): AllowList {
    if (!Number.isSafeInteger(size) || size < 0)
      throw new RangeError(
        `Expected a number of items >= 0 for an allow list, received ${String(size)}.`,
      );
    return new AllowList(size, new Uint32Array(Math.ceil(size / 32)), 0);
  }

  /** Every item. */
  static all(size: number): AllowList {
    const list = AllowList.none(size);
    list.words.fill(0xffff_ffff);
    list.recount();
    return list;
  }

  /** @throws RangeError for a slot outside [0, size). */
  static of(size: number, slots: Iterable<number>): AllowList {
    const list = AllowList.none(size);
    for (const slot of slots) list.set(slot);
    return list;
  }

  clone(): AllowList {
    return new AllowList(this.size, this.words.slice(), this.#count);
  }

  /** Number of items allowed. */
  get count(): number {
    return this.#count;
  }

  /** The slots themselves, ascending; made on first use and kept until the list changes. Do not write to it. */
  slots(): Int32Array {
    if (this.#slots !== undefined) return this.#slots;
    const slots = new Int32Array(this.#count);
    let next = 0;
    for (let word = 0; word < this.words.length; word++)
      for (let bits = this.words[word]!; bits !== 0; bits &= bits - 1)
        slots[next++] = word * 32 + 31 - Math.clz32(bits & -bits);
    this.#slots = slots;
    return slots;
  }

  has(slot: number): boolean {
    return slot >= 0 && slot < this.size && ((this.words[slot >> 5]! >>> (slot & 31)) & 1) === 1;
  }

  set(slot: number): void {
    this.#check(slot);
    if (this.has(slot)) return;
    this.words[slot >> 5]! |= 1 << (slot & 31);
    this.#count++;
    this.#slots = undefined;
  }

  clear(slot: number): void {
    this.#check(slot);
    if (!this.has(slot)) return;
    this.words[slot >> 5]! &= ~(1 << (slot & 31));
    this.#count--;
    this.#slots = undefined;
  }

  /** Keeps what `other` allows, too. */
  and(other: AllowList): this {
    this.#match(other);
    for (let i = 0; i < this.words.length; i++) this.words[i]! &= other.words[i]!;
    return this.recount();
  }

  /** Adds what `other` allows. */
  or(other: AllowList): this {
    this.#match(other);
    for (let i = 0; i < this.words.length; i++) this.words[i]! |= other.words[i]!;
    return this.recount();
  }

  /** Takes away what `other` allows. */
  andNot(other: AllowList): this {
    this.#match(other);
    for (let i = 0; i < this.words.length; i++) this.words[i]! &= ~other.words[i]!;
    return this.recount();
  }

  /** Counts again after `words` was written directly; clears the bits past `size`. */
  recount(): this {
    const tail = this.size & 31;
    if (tail !== 0) this.words[this.words.length - 1]! &= (1 << tail) - 1;
    let count = 0;
    for (const word of this.words) count += bitCount(word);
    this.#count = count;
    this.#slots = undefined;
    return this;
  }

  #check(slot: number): void {
    if (!Number.isInteger(slot) || slot < 0 || slot >= this.size)
      throw new RangeError(
        `Expected a slot in [0, ${this.size}) for an allow list, received ${slot}.`,
      );
  }

  #match(other: AllowList): void {
    if (other.size !== this.size)
      throw new RangeError(
        `Expected allow lists of one size, received ${this.size} and ${other.size}.`,
      );
  }
}

function bitCount(word: number): number {
  let bits = word - ((word >>> 1) & 0x5555_5555);
  bits = (bits & 0x3333_3333) + ((bits >>> 2) & 0x3333_3333);
  return Math.imul((bits + (bits >>> 4)) & 0x0f0f_0f0f, 0x0101_0101) >>> 24;
}
