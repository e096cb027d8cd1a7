// Vocabularies map names to rows and back. The schema decides which row stands for unknown names.

/** An immutable list of distinct names with constant-time lookup. */
export class Vocabulary {
  readonly names: readonly string[];
  readonly #rows: ReadonlyMap<string, number>;

  /** @throws RangeError when a name occurs twice, because two rows would split its statistics. */
  constructor(names: readonly string[]) {
    const rows = new Map<string, number>();
    for (const [row, name] of names.entries()) {
      if (rows.has(name))
        throw new RangeError(
          `Expected distinct names in a vocabulary, received "${name}" at rows ` +
            `${rows.get(name)!} and ${row}.`,
        );
      rows.set(name, row);
    }
    this.names = names;
    this.#rows = rows;
  }

  get size(): number {
    return this.names.length;
  }

  /** Row of `name`, or -1 when it is not in the vocabulary. */
  row(name: string): number {
    return this.#rows.get(name) ?? -1;
  }
}
