// Context features: maps a subject and demographics to rows and weights of the context layer's
// tables. Pseudo-context in training, logged context in evaluation and live context in serving
// share this implementation.

import { TextColumn, TextIndex, type TextBytes } from '../text-column.ts';
import { boundedBucket, type CompactSchema, type FeatureSchema } from './schema.ts';
import { queryNgrams } from './query.ts';
import { Vocabulary } from './vocabulary.ts';

/** Age in years and names, as a request or a user record has them. Absent means unknown. */
export interface Demographics {
  readonly age?: number | undefined;
  readonly country?: string | undefined;
  readonly gender?: string | undefined;
}

/** Rows of the subject table with their weights. Both are empty without a subject. */
export interface SubjectBag {
  readonly rows: readonly number[];
  readonly weights: readonly number[];
}

export const NO_SUBJECT: SubjectBag = { rows: [], weights: [] };

/** ContextFeatures as arrays and plain objects, which one thread can pass to another. */
export interface ContextParts {
  readonly schema: CompactSchema;
  readonly ngrams: TextBytes;
  readonly ngramTable: Int32Array;
}

/** Turns raw context into rows, for one feature schema. */
export class ContextFeatures {
  readonly schema: CompactSchema;
  readonly #categories: Vocabulary;
  readonly #ngrams: TextColumn;
  readonly #ngramRows: TextIndex;
  readonly #countries: Vocabulary;
  readonly #genders: Vocabulary;

  constructor(from: FeatureSchema | ContextParts) {
    if ('ngrams' in from) {
      this.schema = from.schema;
      this.#ngrams = new TextColumn(from.ngrams);
      this.#ngramRows = new TextIndex(this.#ngrams, from.ngramTable);
    } else {
      const { queryNgrams: ngrams, ...schema } = from;
      this.schema = schema;
      this.#ngrams = TextColumn.of(ngrams);
      this.#ngramRows = TextIndex.of(this.#ngrams, 'n-grams in a schema');
    }
    this.#categories = new Vocabulary(this.schema.categories);
    this.#countries = new Vocabulary(this.schema.countries);
    this.#genders = new Vocabulary(this.schema.genders);
  }

  /** Arrays and plain objects from which another thread makes the same features without delay. */
  parts(): ContextParts {
    return { schema: this.schema, ngrams: this.#ngrams.bytes, ngramTable: this.#ngramRows.table };
  }

  /** Row of a category name in the subject table, or -1. */
  categoryRow(name: string): number {
    return this.#categories.row(name);
  }

  /**
   * The strongest categories of a subject, ties by row. Unknown categories and confidences <= 0 are
   * left out.
   *
   * @param rows - rows of the subject table, -1 for unknown.
   * @param confidences - one per row; NaN is left out.
   */
  categoryBag(rows: ArrayLike<number>, confidences: ArrayLike<number>): SubjectBag {
    const known: { row: number; weight: number }[] = [];
    for (let i = 0; i < rows.length; i++)
      if (rows[i]! >= 0 && confidences[i]! > 0)
        known.push({ row: rows[i]!, weight: confidences[i]! });
    known.sort((a, b) => b.weight - a.weight || a.row - b.row);
    const top = known.slice(0, this.schema.maxSubjectCategories);
    return { rows: top.map(({ row }) => row), weights: top.map(({ weight }) => weight) };
  }

  /** The same as categoryBag(), from category names. */
  interestBag(interests: readonly { category: string; confidence: number }[]): SubjectBag {
    return this.categoryBag(
      interests.map(({ category }) => this.#categories.row(category)),
      interests.map(({ confidence }) => confidence),
    );
  }

  /**
   * The bag of a search query: the rows of its known n-grams, ascending, each with weight 1. Words
   * that the catalogue does not have can still share trigrams with its words. A query without a
   * known n-gram gives no subject.
   */
  queryBag(query: string): SubjectBag {
    const base = this.schema.categories.length;
    const rows = queryNgrams(query)
      .map((ngram) => this.#ngramRows.row(ngram))
      .filter((row) => row >= 0)
      .map((row) => base + row)
      .sort((a, b) => a - b);
    return { rows, weights: rows.map(() => 1) };
  }

  /** Rows of age bucket, country and gender; 0 = unknown. */
  demographicRows(demographics: Demographics): [number, number, number] {
    return [
      demographics.age === undefined ? 0 : boundedBucket(demographics.age, this.schema.ageBounds),
      demographics.country === undefined ? 0 : this.#countries.row(demographics.country) + 1,
      demographics.gender === undefined ? 0 : this.#genders.row(demographics.gender) + 1,
    ];
  }
}
