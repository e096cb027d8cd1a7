// Scores all items of a world with the true parameters of the simulation: by the true intent, by
// the part of it that a request shows, by history alone, and by popularity.

import * as law from './law.ts';
import type { Population, Session } from './population.ts';
import type { Profile } from './profile.ts';
import { LEAVES, ROOTS } from './taxonomy.ts';

/** Rankings by the whole truth, by parts of it, and by popularity. */
export const RANKINGS = [
  'intent and history (ceiling)',
  'observed context and history',
  'intent only',
  'history only',
  'history only, told the slice',
  'popular',
] as const;
export type Ranking = (typeof RANKINGS)[number];

/** Scores all items for one request at a time. Memory: three numbers per item. */
export class TruthScorer {
  readonly #population: Population;
  readonly #popularity: Uint32Array;
  readonly #scores: Float64Array;
  /** [N] true P(item | leaf, user). */
  readonly #withinLeaf: Float64Array;
  /** [N] true P(item | leaf) of the average user. */
  readonly #average: Float64Array;
  readonly #wordLeaves: Map<string, number[]> = new Map();
  #profile: Profile | undefined;
  #sessions: readonly Session[] = [];
  #number = 0;

  constructor(population: Population, popularity: Uint32Array) {
    const { catalogue } = population;
    this.#population = population;
    this.#popularity = popularity;
    this.#scores = new Float64Array(catalogue.count);
    this.#withinLeaf = new Float64Array(catalogue.count);
    this.#average = new Float64Array(catalogue.count);
    for (const [leaf, { words, root }] of LEAVES.entries())
      for (const word of [...words, ROOTS[root]!])
        this.#wordLeaves.set(word, [...(this.#wordLeaves.get(word) ?? []), leaf]);
    this.#fillWithinLeaves(this.#average, (item) => {
      // E exp(s u . v) over u ~ N(0, I) is exp(s^2 |v|^2 / 2).
      let square = 0;
      for (let d = 0; d < law.TASTE_WIDTH; d++)
        square += catalogue.tastes[item * law.TASTE_WIDTH + d]! ** 2;
      return Math.exp((law.TASTE_STRENGTH ** 2 * square) / 2);
    });
  }

  /** Prepares for session `number` of a user. */
  prepare(profile: Profile, sessions: readonly Session[], number: number): void {
    this.#profile = profile;
    this.#sessions = sessions;
    this.#number = number;
    const converted = new Set(sessions.slice(0, number).flatMap(({ positives }) => positives));
    this.#fillWithinLeaves(this.#withinLeaf, (item) =>
      this.#population.sampler.tasteWeight(profile, item, converted),
    );
  }

  /** Scores of all items, [N], higher is better; valid until the next call. */
  score(ranking: Ranking): Float64Array {
    const session = this.#sessions[this.#number]!;
    const leaves = LEAVES.map(() => 0);
    switch (ranking) {
      case 'intent and history (ceiling)':
        leaves[session.leaf] = 1;
        return this.#combine(leaves, this.#withinLeaf);
      case 'observed context and history':
        return this.#combine(this.#observedLeaves(session), this.#withinLeaf);
      case 'intent only':
        leaves[session.leaf] = 1;
        return this.#combine(leaves, this.#average);
      case 'history only':
        return this.#combine(this.#expectedLeaves(session), this.#withinLeaf);
      case 'history only, told the slice':
        return this.#combine(this.#sliceLeaves(session), this.#withinLeaf);
      case 'popular':
        return Float64Array.from(this.#popularity);
    }
  }

  #fillWithinLeaves(target: Float64Array, weigh: (item: number) => number): void {
    const { catalogue } = this.#population;
    for (let leaf = 0; leaf < LEAVES.length; leaf++) {
      const [from, to] = [catalogue.leafOffsets[leaf]!, catalogue.leafOffsets[leaf + 1]!];
      let total = 0;
      for (let item = from; item < to; item++)
        total += target[item] = catalogue.popularity(leaf, item) * weigh(item);
      for (let item = from; item < to; item++) target[item]! /= total;
    }
  }

  #combine(leaves: ArrayLike<number>, withinLeaf: Float64Array): Float64Array {
    const { leafOffsets } = this.#population.catalogue;
    for (let leaf = 0; leaf < LEAVES.length; leaf++)
      for (let item = leafOffsets[leaf]!; item < leafOffsets[leaf + 1]!; item++)
        this.#scores[item] = leaves[leaf]! * withinLeaf[item]!;
    return this.#scores;
  }

  /** P(leaf) before the session shows anything. */
  #expectedLeaves({ previousDrift }: Session): Float64Array {
    const returning = previousDrift < 0 ? 0 : law.DRIFT_RETURN_RATE;
    const drifting = 1 - law.LONG_TERM_RATE;
    const leaves = this.#population.driftShares.map((share) => drifting * (1 - returning) * share);
    if (previousDrift >= 0) leaves[previousDrift]! += drifting * returning;
    const { interests, interestWeights } = this.#profile!;
    for (const [i, leaf] of interests.entries())
      leaves[leaf]! += law.LONG_TERM_RATE * interestWeights[i]!;
    return leaves;
  }

  /**
   * P(leaf) when it is also given whether the intent differs from all known intents. This is the
   * best ranking by history alone in a slice.
   */
  #sliceLeaves(session: Session): Float64Array {
    const known = new Set(this.#profile!.interests);
    for (const earlier of this.#sessions.slice(0, this.#number)) known.add(earlier.leaf);
    return this.#expectedLeaves(session).map((share, leaf) =>
      known.has(leaf) === session.differs ? 0 : share,
    );
  }

  /**
   * Weight of each leaf by what the request shows: the subject's categories, or the query's words.
   */
  #observedLeaves(session: Session): Float64Array {
    const leaves = new Float64Array(LEAVES.length).fill(1e-6);
    if (session.subject >= 0) {
      const { categories, confidences } = this.#population.catalogue.describe(session.subject);
      for (const [i, name] of categories.entries())
        leaves[LEAVES.findIndex((leaf) => leaf.name === name)]! += confidences[i]!;
      return leaves;
    }
    for (const word of session.query.split(' ')) {
      const matched = this.#wordLeaves.get(word) ?? [];
      for (const leaf of matched) leaves[leaf]! += 1 / matched.length;
    }
    return leaves;
  }
}
