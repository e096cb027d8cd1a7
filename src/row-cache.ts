// What is made of the rows of a large table one by one, when somebody asks for one: most of a million items are never asked for.

/** Rows to a page; also what a first question costs in memory. */
const PAGE_ROWS = 1024;

/** A value for each row, kept. However many rows there are, an empty one is made at once, and no garbage collection has to walk it. */
export class RowCache<Value> {
  readonly #make: (row: number) => Value;
  readonly #pages = new Map<number, (Value | undefined)[]>();

  /** @param make - gives the value of a row, the same at every call, never undefined. */
  constructor(make: (row: number) => Value) {
    this.#make = make;
  }

  /** @param row - from 0. */
  at(row: number): Value {
    const page = Math.floor(row / PAGE_ROWS);
    let values = this.#pages.get(page);
    if (values === undefined) this.#pages.set(page, (values = new Array<undefined>(PAGE_ROWS)));
    return (values[row % PAGE_ROWS] ??= this.#make(row));
  }
}
