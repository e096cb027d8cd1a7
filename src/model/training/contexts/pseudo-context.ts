// Pseudo-context: most conversions come without a logged request. Training therefore synthesises
// the subject that the user looked at, from the positive or from another conversion near it.
// Nothing in evaluation or serving imports this file.

import type { ItemTable } from '../../../data/dataset.ts';
import { NO_SUBJECT, type ContextFeatures, type SubjectBag } from '../../../features/context.ts';
import { queryWords } from '../../../features/query.ts';
import type { Random } from '../../../random.ts';

/** Share of the item's categories that the simulated classifier misses. */
const MISSED_SHARE = 0.3;
/** Confidences are multiplied by U(1 - jitter, 1 + jitter). */
const CONFIDENCE_JITTER = 0.5;
const MAX_QUERY_WORDS = 3;

/** Synthesises subjects from items. */
export class PseudoContext {
  readonly #features: ContextFeatures;
  readonly #items: ItemTable;
  /** Category rows of the schema, by category row of the dataset. */
  readonly #rows: Int32Array;

  constructor(features: ContextFeatures, items: ItemTable) {
    this.#features = features;
    this.#items = items;
    this.#rows = Int32Array.from(items.categoryNames, (name) => features.categoryRow(name));
  }

  /**
   * The categories of an item as a noisy classifier would report them, at least one. An item
   * without categories gives no subject.
   */
  categories(item: number, random: Random): SubjectBag {
    const begin = this.#items.categoryOffsets[item]!;
    const end = this.#items.categoryOffsets[item + 1]!;
    if (begin === end) return NO_SUBJECT;
    const rows: number[] = [];
    const confidences: number[] = [];
    for (let i = begin; i < end; i++) {
      if (random.uniform() < MISSED_SHARE) continue;
      rows.push(this.#rows[this.#items.categoryValues[i]!]!);
      confidences.push(
        this.#items.categoryConfidences[i]! *
          (1 - CONFIDENCE_JITTER + 2 * CONFIDENCE_JITTER * random.uniform()),
      );
    }
    if (rows.length === 0) {
      rows.push(this.#rows[this.#items.categoryValues[begin]!]!);
      confidences.push(this.#items.categoryConfidences[begin]!);
    }
    return this.#features.categoryBag(rows, confidences);
  }

  /** A search query for an item: a few words of its title or of its two strongest categories. */
  query(item: number, random: Random): SubjectBag {
    const begin = this.#items.categoryOffsets[item]!;
    const end = Math.min(this.#items.categoryOffsets[item + 1]!, begin + 2);
    const names = Array.from(
      this.#items.categoryValues.subarray(begin, end),
      (row) => this.#items.categoryNames[row]!,
    );
    const words = [...new Set(queryWords([this.#items.titles[item]!, ...names].join(' ')))];
    if (words.length === 0) return NO_SUBJECT;
    const count = 1 + random.integer(Math.min(MAX_QUERY_WORDS, words.length));
    return this.#features.queryBag(random.shuffle(words).slice(0, count).join(' '));
  }
}
