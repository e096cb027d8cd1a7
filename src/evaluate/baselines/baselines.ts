// The baselines: scorers without learning that every report prints. A model that loses to one of them is not done.
// Formulas, and which of them reproduce which published baseline, are in docs/explanation/evaluation.md.

import { BASKET_PAUSE_SECONDS, buildBaskets } from '../../data/baskets.ts';
import type { Dataset, Subject } from '../../data/dataset.ts';
import { queryWords } from '../../features/query.ts';
import { DAY_SECONDS } from '../../time.ts';
import { basketCounts, CoOccurrence } from './co-occurrence.ts';
import type { EvaluationQuery, EvaluationSet, Scorer } from '../query.ts';

/** The latest events of a history that item-item cosine reads. */
const COSINE_EVENTS = 50;
/** Half-life of a repeat purchase's weight. */
const REPEAT_HALF_LIFE_DAYS = 90;
/** Weight of popularity (at most 1) where it only breaks ties and fills up behind scored items. */
const FILL = 1e-3;

/** Parts of the mixed baseline, each scaled to a maximum of 1 per query. */
export const MIXTURE_PARTS = ['history', 'conditional', 'cosine', 'repeat', 'popular'] as const;

export type MixturePart = (typeof MIXTURE_PARTS)[number];

/** history = item-item cosine from the history; conditional, cosine = from the subject; repeat; popular = last 30 days. */
export type MixtureWeights = Readonly<Record<MixturePart, number>>;

/** By hand, for Online Retail; chooseMixture finds weights on a validation set. */
export const DEFAULT_MIXTURE: MixtureWeights = {
  history: 1,
  conditional: 1,
  cosine: 0.5,
  repeat: 1,
  popular: 0.1,
};

/** Writes the weighted sum of parts, [N] each in the order of MIXTURE_PARTS, and the tie-breaking fill into a row of [N]. */
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

/** Adds one part of a score to a row of [N]. */
type AddScores = (query: EvaluationQuery, row: Float32Array) => void;

/** Statistics of the training events, shared by all baselines of one evaluation set. */
export class Baselines {
  /** [N] baskets of each item in training: the popularity of reports. */
  readonly popularity: Float64Array;
  /** What a basket is, in words. */
  readonly basketRule: string;
  readonly #dataset: Dataset;
  readonly #together: CoOccurrence;
  readonly #popular7: Float64Array;
  readonly #popular30: Float64Array;
  readonly #windowed: boolean;
  /** Whether some request has a subject; without any, the baselines from it are left out. */
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
    // Windows of popularity need visits and a cut; without them all of training counts.
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
   * The weighted sum of MIXTURE_PARTS; without repeat purchases where seen items are not ranked: of what a user had, only a positive
   * is ever a candidate there, so counting would know the label.
   */
  mixed(weights: MixtureWeights): Scorer {
    const parts = MIXTURE_PARTS.map(() => new Float32Array(this.#dataset.items.count));
    return this.#scorer('context + history, mixed', (query, row) => {
      this.mixtureParts(query, parts);
      mixRow(parts, weights, row);
    });
  }

  /** Writes the parts of the mixed baseline for one query: [N] each, in the order of MIXTURE_PARTS. */
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

  /** Frequency with decay: sum over past purchases of 2^(-age / 90 days). */
  readonly #repeat: AddScores = (query, row) => {
    const { items, times } = this.#dataset.events;
    for (let i = query.historyBegin; i < query.historyEnd; i++) {
      const days = Math.max(0, query.timeSeconds - times[i]!) / DAY_SECONDS;
      row[items[i]!]! += this.#dataset.hasTime ? 2 ** (-days / REPEAT_HALF_LIFE_DAYS) : 1;
    }
  };

  /** Sum over the latest events h of shared(h, i) / sqrt(count(h) count(i)), h itself left out. */
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

  /** Subjects that are no item: popularity inside their categories, sum of confidence x (FILL + popularity). */
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

/** Divided by the maximum; all 0 stays so. */
function scaled(counts: Float64Array): Float64Array {
  let top = 0;
  for (const count of counts) if (count > top) top = count;
  return top === 0 ? counts : counts.map((count) => count / top);
}
