// The baselines: scorers without learning, which every report prints. A model must beat all of
// them. docs/explanation/evaluation.md has the formulas, and says which of them reproduce published
// baselines.

import { BASKET_PAUSE_SECONDS, buildBaskets } from '../../data/baskets.ts';
import type { Dataset, Subject } from '../../data/dataset.ts';
import { queryWords } from '../../features/query.ts';
import { DAY_SECONDS } from '../../time.ts';
import { basketCounts, CoOccurrence } from './co-occurrence.ts';
import type { EvaluationQuery, EvaluationSet, Scorer } from '../query.ts';

/** Item-item cosine reads this many of the latest events of a history. */
const COSINE_EVENTS = 50;
/** Half-life of the weight of a repeat purchase. */
const REPEAT_HALF_LIFE_DAYS = 90;
/** Weight of popularity (at most 1) that breaks ties and ranks items without another score. */
const FILL = 1e-3;

/** A part of the mixed baseline. Each is scaled to a maximum of 1 per query. */
export type MixturePart = 'history' | 'conditional' | 'cosine' | 'repeat' | 'popular';

/** All parts of the mixed baseline. */
export const MIXTURE_PARTS: readonly MixturePart[] = [
  'history',
  'conditional',
  'cosine',
  'repeat',
  'popular',
];

/**
 * The weight of each part: `history` is item-item cosine from the history; `conditional` and
 * `cosine` start from the subject; `repeat` is repeat purchases; `popular` is the last 30 days.
 */
export type MixtureWeights = Readonly<Record<MixturePart, number>>;

/** Weights set by hand for Online Retail; chooseMixture finds weights on a validation set. */
export const DEFAULT_MIXTURE: MixtureWeights = {
  history: 1,
  conditional: 1,
  cosine: 0.5,
  repeat: 1,
  popular: 0.1,
};

/**
 * Writes the weighted sum of parts, plus the tie-breaking popularity, into a row of scores.
 *
 * @param parts - [N] each, in the order of MIXTURE_PARTS.
 * @param row - [N], overwritten in full.
 */
export function mixRow(
  parts: readonly Float32Array[],
  weights: MixtureWeights,
  row: Float32Array,
): void {
  row.fill(0);
  for (const [i, name] of MIXTURE_PARTS.entries()) {
    const part = parts[i]!;
    const weight = weights[name] + (name === 'popular' ? FILL : 0);
    if (weight !== 0)
      for (let item = 0; item < row.length; item++) row[item]! += weight * part[item]!;
  }
}

/** Adds one part of the score of a query to a row [N]. */
type AddScores = (query: EvaluationQuery, row: Float32Array) => void;

/** Statistics of the training events of one evaluation set, and the baselines that use them. */
export class Baselines {
  /** [N] number of training baskets that hold each item: the popularity in reports. */
  readonly popularity: Float64Array;
  /** A description of what a basket is. */
  readonly basketRule: string;
  readonly #dataset: Dataset;
  readonly #together: CoOccurrence;
  readonly #popular7: Float64Array;
  readonly #popular30: Float64Array;
  readonly #windowed: boolean;
  /** Whether any request has a subject. If not, the baselines from the subject are left out. */
  readonly #subjects: boolean;
  readonly #seenLeftOut: boolean;
  readonly #itemsOfCategory = new Map<string, { items: number[]; confidences: number[] }>();
  readonly #categoriesOfWord = new Map<string, string[]>();

  constructor(dataset: Dataset, set: EvaluationSet) {
    this.#dataset = dataset;
    this.#seenLeftOut = set.seenLeftOut;
    this.#subjects = set.queries.some(({ subject }) => subject.kind !== 'none');
    const baskets = buildBaskets(dataset.events, set.trainEnd, dataset.hasTime ? 'auto' : 'user');
    const items = dataset.items.count;
    this.#together = new CoOccurrence(baskets, items);
    this.popularity = this.#together.counts;
    this.basketRule =
      baskets.unit === 'visit'
        ? `a user's events with pauses of at most ${BASKET_PAUSE_SECONDS} s`
        : "a user's whole past";
    // Popularity windows need visits and a cut; without them all training events count.
    this.#windowed = Number.isFinite(set.cutSeconds) && dataset.hasTime;
    const recent =
      baskets.unit === 'visit' || !this.#windowed
        ? baskets
        : buildBaskets(dataset.events, set.trainEnd, 'visit');
    const since = (days: number): Float64Array =>
      scaled(
        this.#windowed
          ? basketCounts(recent, items, set.cutSeconds - days * DAY_SECONDS)
          : this.popularity,
      );
    this.#popular7 = since(7);
    this.#popular30 = since(30);
    this.#indexCategories();
  }

  /** The baselines that fit the protocol, in the order of the report. */
  scorers(mixture: MixtureWeights = DEFAULT_MIXTURE): Scorer[] {
    const popular = this.#windowed
      ? [
          this.#scorer('popular, last 7 days', this.#add(this.#popular7)),
          this.#scorer('popular, last 30 days', this.#add(this.#popular30)),
        ]
      : [this.#scorer('popular, all training events', this.#add(this.#popular30))];
    return [
      ...popular,
      ...(this.#seenLeftOut
        ? []
        : [this.#scorer('history only: repeat purchases', this.#repeat, this.#fill)]),
      this.#scorer('history only: item-item cosine', this.#historyCosine, this.#fill),
      ...(this.#subjects
        ? [
            this.#scorer('context only: item-item cosine', this.#subjectCosine, this.#fill),
            this.#scorer(
              'context only: item-item conditional',
              this.#subjectConditional,
              this.#fill,
            ),
          ]
        : []),
      this.mixed(mixture),
    ];
  }

  /**
   * The weighted sum of MIXTURE_PARTS. Repeat purchases are left out when the protocol does not
   * rank items of the user's history. An item of the history can then be a candidate only if it is
   * a positive, so its count would reveal the label.
   */
  mixed(weights: MixtureWeights): Scorer {
    const parts = MIXTURE_PARTS.map(() => new Float32Array(this.#dataset.items.count));
    return this.#scorer('context + history, mixed', (query, row) => {
      this.mixtureParts(query, parts);
      mixRow(parts, weights, row);
    });
  }

  /**
   * Writes the parts of the mixed baseline for one query.
   *
   * @param parts - [N] each, in the order of MIXTURE_PARTS; overwritten in full.
   */
  mixtureParts(query: EvaluationQuery, parts: readonly Float32Array[]): void {
    const add: Readonly<Record<MixturePart, AddScores>> = {
      history: this.#historyCosine,
      conditional: this.#subjectConditional,
      cosine: this.#subjectCosine,
      repeat: this.#seenLeftOut ? () => undefined : this.#repeat,
      popular: this.#add(this.#popular30),
    };
    for (const [i, name] of MIXTURE_PARTS.entries()) {
      const part = parts[i]!;
      part.fill(0);
      add[name](query, part);
      let top = 0;
      for (const value of part) if (value > top) top = value;
      if (top > 0) for (let item = 0; item < part.length; item++) part[item]! /= top;
    }
  }

  #scorer(name: string, ...parts: readonly AddScores[]): Scorer {
    const items = this.#dataset.items.count;
    return {
      name,
      score(queries, out): void {
        out.fill(0);
        for (const [i, query] of queries.entries())
          for (const add of parts) add(query, out.subarray(i * items, (i + 1) * items));
      },
    };
  }

  #add(values: Float64Array): AddScores {
    return (_query, row) => {
      for (let item = 0; item < row.length; item++) row[item]! += values[item]!;
    };
  }

  readonly #fill: AddScores = (_query, row) => {
    for (let item = 0; item < row.length; item++) row[item]! += FILL * this.#popular30[item]!;
  };

  /** Repeat purchases with decay: the sum over past events of 2^(-age / 90 days). */
  readonly #repeat: AddScores = (query, row) => {
    const { items, times } = this.#dataset.events;
    for (let i = query.historyBegin; i < query.historyEnd; i++) {
      const days = Math.max(0, query.timeSeconds - times[i]!) / DAY_SECONDS;
      row[items[i]!]! += this.#dataset.hasTime ? 2 ** (-days / REPEAT_HALF_LIFE_DAYS) : 1;
    }
  };

  /**
   * Item-item cosine: the sum over the latest events h of shared(h, i) / sqrt(count(h) count(i)),
   * without h itself.
   */
  readonly #historyCosine: AddScores = (query, row) => {
    const { items } = this.#dataset.events;
    const begin = Math.max(query.historyBegin, query.historyEnd - COSINE_EVENTS);
    for (let i = begin; i < query.historyEnd; i++) this.#addCosine(items[i]!, row);
  };

  readonly #subjectCosine: AddScores = (query, row) => {
    if (query.subject.kind === 'item') this.#addCosine(query.subject.item, row);
    else this.#addCategories(query.subject, row);
  };

  /** P(i | subject) = shared(subject, i) / count(subject). */
  readonly #subjectConditional: AddScores = (query, row) => {
    if (query.subject.kind !== 'item') {
      this.#addCategories(query.subject, row);
      return;
    }
    const count = this.#together.counts[query.subject.item]!;
    if (count === 0) return;
    const near = this.#together.neighbours(query.subject.item);
    for (let n = 0; n < near.items.length; n++) row[near.items[n]!]! += near.counts[n]! / count;
  };

  #addCosine(item: number, row: Float32Array): void {
    const { counts } = this.#together;
    const near = this.#together.neighbours(item);
    const own = Math.sqrt(counts[item]!);
    for (let n = 0; n < near.items.length; n++) {
      const other = near.items[n]!;
      row[other]! += near.counts[n]! / (own * Math.sqrt(counts[other]!));
    }
  }

  /**
   * For subjects that are not items, popularity within their categories: the sum of confidence x
   * (FILL + popularity).
   */
  #addCategories(subject: Subject, row: Float32Array): void {
    for (const [category, confidence] of this.#interests(subject)) {
      const members = this.#itemsOfCategory.get(category);
      if (members === undefined) continue;
      for (const [i, item] of members.items.entries())
        row[item]! += confidence * members.confidences[i]! * (FILL + this.#popular30[item]!);
    }
  }

  #interests(subject: Subject): readonly (readonly [category: string, confidence: number])[] {
    if (subject.kind === 'interests')
      return subject.interests.map(({ category, confidence }) => [category, confidence]);
    if (subject.kind !== 'query') return [];
    return queryWords(subject.query).flatMap((word) =>
      (this.#categoriesOfWord.get(word) ?? []).map((category): [string, number] => [category, 1]),
    );
  }

  #indexCategories(): void {
    const { items } = this.#dataset;
    const members = items.categoryNames.map((name) => {
      for (const word of new Set(queryWords(name))) {
        const names = this.#categoriesOfWord.get(word);
        if (names === undefined) this.#categoriesOfWord.set(word, [name]);
        else names.push(name);
      }
      const entry = { items: [] as number[], confidences: [] as number[] };
      this.#itemsOfCategory.set(name, entry);
      return entry;
    });
    for (let item = 0; item < items.count; item++)
      for (let i = items.categoryOffsets[item]!; i < items.categoryOffsets[item + 1]!; i++) {
        const entry = members[items.categoryValues[i]!]!;
        entry.items.push(item);
        entry.confidences.push(items.categoryConfidences[i]!);
      }
  }
}

/** Counts divided by their maximum; zeros stay zeros. */
function scaled(counts: Float64Array): Float64Array {
  let top = 0;
  for (const count of counts) if (count > top) top = count;
  return top === 0 ? counts : counts.map((count) => count / top);
}
