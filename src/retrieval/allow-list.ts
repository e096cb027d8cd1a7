// The set of items that a search may return: one bit an item, in the layout that native indexes
// read.

/** A set of rows in [0, size). Bits past `size` are always 0, so counting needs no mask. */
export class AllowList {
  readonly size: number;
  /**
   * [ceil(size / 32)]: bit i of word i >> 5. Write through the methods, or call recount() after
   * writing.
   */
  readonly words: Uint32Array;
  #count: number;
  #rows: Int32Array | undefined;

  private constructor(size: number, words: Uint32Array, count: number) {
    this.size = size;
    this.words = words;
    this.#count = count;
  }

  /** The empty set. */
  static none(size: number): AllowList {
    if (!Number.isSafeInteger(size) || size < 0)
      throw new RangeError(
        `Expected a number of items >= 0 for an allow list, received ${String(size)}.`,
      );
    return new AllowList(size, new Uint32Array(Math.ceil(size / 32)), 0);
  }

  /** The set of all rows. */
  static all(size: number): AllowList {
    const list = AllowList.none(size);
    list.words.fill(0xffff_ffff);
    list.recount();
    return list;
  }

  /**
   * The set of the given rows.
   *
   * @throws RangeError for a row outside [0, size).
   */
  static of(size: number, rows: Iterable<number>): AllowList {
    const list = AllowList.none(size);
    for (const row of rows) list.set(row);
    return list;
  }

  clone(): AllowList {
    return new AllowList(this.size, this.words.slice(), this.#count);
  }

  /** Number of rows in the set. */
  get count(): number {
    return this.#count;
  }

  /**
   * The rows in ascending order. They are computed on first use and kept until the set changes. Do
   * not write to the array.
   */
  rows(): Int32Array {
    if (this.#rows !== undefined) return this.#rows;
    const rows = new Int32Array(this.#count);
    let next = 0;
    for (let word = 0; word < this.words.length; word++)
      for (let bits = this.words[word]!; bits !== 0; bits &= bits - 1)
        rows[next++] = word * 32 + 31 - Math.clz32(bits & -bits);
    this.#rows = rows;
    return rows;
  }

  has(row: number): boolean {
    return row >= 0 && row < this.size && ((this.words[row >> 5]! >>> (row & 31)) & 1) === 1;
  }

  set(row: number): void {
    this.#check(row);
    if (this.has(row)) return;
    this.words[row >> 5]! |= 1 << (row & 31);
    this.#count++;
    this.#rows = undefined;
  }

  clear(row: number): void {
    this.#check(row);
    if (!this.has(row)) return;
    this.words[row >> 5]! &= ~(1 << (row & 31));
    this.#count--;
    this.#rows = undefined;
  }

  /** Removes the rows that are not in `other`. */
  and(other: AllowList): this {
    this.#match(other);
    for (let i = 0; i < this.words.length; i++) this.words[i]! &= other.words[i]!;
    return this.recount();
  }

  /** Adds the rows of `other`. */
  or(other: AllowList): this {
    this.#match(other);
    for (let i = 0; i < this.words.length; i++) this.words[i]! |= other.words[i]!;
    return this.recount();
  }

  /** Removes the rows of `other`. */
  andNot(other: AllowList): this {
    this.#match(other);
    for (let i = 0; i < this.words.length; i++) this.words[i]! &= ~other.words[i]!;
    return this.recount();
  }

  /** Counts the rows after a direct write to `words`, and clears the bits past `size`. */
  recount(): this {
    const tail = this.size & 31;
    if (tail !== 0) this.words[this.words.length - 1]! &= (1 << tail) - 1;
    let count = 0;
    for (const word of this.words) count += bitCount(word);
    this.#count = count;
    this.#rows = undefined;
    return this;
  }

  #check(row: number): void {
    if (!Number.isInteger(row) || row < 0 || row >= this.size)
      throw new RangeError(
        `Expected a row in [0, ${this.size}) for an allow list, received ${row}.`,
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
