// Pairs of example and catalogue row, collected while a step is drawn: the items that are left out
// of the loss, and the item frequencies of the examples' histories.

import type { ScorePairs } from '../../../backend/fused.ts';
import type { ItemFrequencies } from '../../../features/item-frequency.ts';

/** Frequencies of the items in the history of each example's state. Each pair occurs once. */
export interface ExampleFrequencies extends ScorePairs {
  /** [pairs] frequencies as item-frequency.ts counts them. */
  readonly counts: Float32Array;
  /** [E] frequencies of the examples' positives; 0 for an item that is not in the history. */
  readonly ofPositives: Float32Array;
}

/** Items that are left out of the loss of an example. */
export class LeftOutPairs {
  readonly #rows: number[] = [];
  readonly #columns: number[] = [];

  /**
   * Leaves an item out of the loss of an example, unless it is the example's positive or -1.
   *
   * @param example - index of the example; calls come in ascending order.
   * @param item - catalogue row, or -1 for none.
   * @param positive - catalogue row of the example's positive.
   */
  add(example: number, item: number, positive: number): void {
    if (item < 0 || item === positive) return;
    this.#rows.push(example);
    this.#columns.push(item);
  }

  pairs(): ScorePairs {
    return { rows: Int32Array.from(this.#rows), columns: Int32Array.from(this.#columns) };
  }
}

/** Frequencies of all examples of a step, one example after the other. */
export class FrequencyPairs {
  readonly #rows: number[] = [];
  readonly #columns: number[] = [];
  readonly #counts: number[] = [];
  readonly #ofPositives: number[] = [];

  /**
   * Adds the next example.
   *
   * @param positive - catalogue row of the example's positive.
   */
  add({ items, counts }: ItemFrequencies, positive: number): void {
    const example = this.#ofPositives.length;
    let ofPositive = 0;
    for (const [i, item] of items.entries()) {
      this.#rows.push(example);
      this.#columns.push(item);
      this.#counts.push(counts[i]!);
      if (item === positive) ofPositive = counts[i]!;
    }
    this.#ofPositives.push(ofPositive);
  }

  pairs(): ExampleFrequencies {
    return {
      rows: Int32Array.from(this.#rows),
      columns: Int32Array.from(this.#columns),
      counts: Float32Array.from(this.#counts),
      ofPositives: Float32Array.from(this.#ofPositives),
    };
  }
}
