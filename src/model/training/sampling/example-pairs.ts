// Pairs of example and catalogue row, collected while a step is drawn: items that are left out of
// the loss, and how often users have had items.

import type { ScorePairs } from '../../../backend/fused.ts';
import type { ItemFrequencies } from '../../../features/item-frequency.ts';

/** How often the examples' users have had items before the state. Each pair occurs once. */
export interface ExampleFrequencies extends ScorePairs {
  /** [pairs] frequencies as item-frequency.ts counts them. */
  readonly counts: Float32Array;
  /** [E] frequencies of the examples' positives; 0 for an item that the user has not had. */
  readonly ofPositives: Float32Array;
}

/** Items that are left out of the loss of an example. */
export class LeftOutPairs {
  readonly #rows: number[] = [];
  readonly #columns: number[] = [];

  /**
   * Leaves an item out, unless it is the positive or -1. Examples come in ascending order.
   *
   * @param item - catalogue row, or -1 for none.
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

  /** Adds the next example. */
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
