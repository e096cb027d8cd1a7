// Users and what they do in 90 days. A user is a function of (seed, user): nobody else's draws matter,
// so a million users stream through the memory of one.

import { DAY_SECONDS } from '../time.ts';
import type { Catalogue } from './catalogue.ts';
import * as law from './law.ts';
import { DOMAIN, RandomStream } from './random.ts';
import { COUNTRIES, LEAVES, QUERY_FILLERS, ROOTS } from './taxonomy.ts';

const COUNTRY_CUMULATIVE = [0.3, 0.45, 0.57, 0.67, 0.77, 0.87, 0.94, 1];
const GENDER_CUMULATIVE = [0.49, 0.97, 1];
const UNKNOWN_AGE_SHARE = 0.06;
const NOTHING: ReadonlySet<number> = new Set();

/** What is fixed about a user. */
export interface Profile {
  /** Years; the world knows it even where `ageKnown` is false. */
  readonly age: number;
  readonly ageKnown: boolean;
  /** Rows of GENDERS and COUNTRIES. */
  readonly gender: number;
  readonly country: number;
  /** [TASTE_WIDTH]. */
  readonly taste: Float64Array;
  /** Long-term interests: distinct leaves and their weights, which sum to 1. */
  readonly interests: readonly number[];
  readonly interestWeights: readonly number[];
}

/** One visit with one intent: a request, and the conversions that follow it. */
export interface Session {
  /** 0, 1, ... by time. */
  readonly number: number;
  /** The intent. */
  readonly leaf: number;
  /** Intent is neither a long-term interest nor a leaf of an earlier session. */
  readonly differs: boolean;
  /** Latest drifting intent before this session; -1 when there was none. */
  readonly previousDrift: number;
  /** Unix seconds of the request. */
  readonly time: number;
  /** Item in view; -1 for a search. */
  readonly subject: number;
  /** Empty when an item is in view. */
  readonly query: string;
  /** Distinct items, never the subject. */
  readonly positives: readonly number[];
  /** Unix seconds of each conversion, ascending, all after the request. */
  readonly conversionTimes: readonly number[];
  readonly purchases: readonly boolean[];
}

export interface UserLife {
  readonly profile: Profile;
  /** By time. */
  readonly sessions: readonly Session[];
}

/** Simulates users of one world; reuses its scratch memory, so one caller at a time (it is synchronous anyway). */
export class Population {
  readonly catalogue: Catalogue;
  readonly seed: number;
  /** [leaves], sums to 1: where a new drifting intent goes. */
  readonly driftShares: Float64Array;
  readonly #driftCumulative: Float64Array;
  readonly #baseDemand: Float64Array;
  readonly #genderTilts: Float64Array;
  readonly #ageTilts: Float64Array;
  readonly #countryTilts: Float64Array;
  readonly #stream: RandomStream;
  readonly #items = new Int32Array(Math.max(law.EXACT_LEAF_ITEMS, law.PROPOSALS));
  readonly #weights = new Float64Array(Math.max(law.EXACT_LEAF_ITEMS, law.PROPOSALS));
  readonly #remembered = new Float64Array(LEAVES.length * law.EXACT_LEAF_ITEMS);
  readonly #rememberedFor: (Profile | undefined)[] = LEAVES.map(() => undefined);

  constructor(catalogue: Catalogue) {
    this.catalogue = catalogue;
    this.seed = catalogue.seed;
    const ranks = catalogue.leafRanks;
    const drift = Float64Array.from(ranks, (rank) => Math.pow(rank + 1, -law.DRIFT_EXPONENT));
    const total = drift.reduce((sum, weight) => sum + weight, 0);
    this.driftShares = drift.map((weight) => weight / total);
    this.#driftCumulative = runningSum(this.driftShares);
    this.#baseDemand = Float64Array.from(ranks, (rank) =>
      Math.pow(rank + 1, -law.INTEREST_EXPONENT),
    );
    const stream = new RandomStream(this.seed, DOMAIN.world, 3);
    const tilts = (count: number): Float64Array =>
      Float64Array.from({ length: count }, () => law.DEMOGRAPHIC_SPREAD * stream.normal());
    this.#genderTilts = tilts(LEAVES.length);
    this.#ageTilts = tilts(LEAVES.length);
    this.#countryTilts = tilts(LEAVES.length * COUNTRIES.length);
    this.#stream = new RandomStream(this.seed, DOMAIN.user, 0);
  }

  userId(user: number): string {
    return `user-${String(user).padStart(8, '0')}`;
  }

  requestId(user: number, session: number): string {
    return `request-${String(user).padStart(8, '0')}-${String(session).padStart(3, '0')}`;
  }

  /** [user, session number] of a request id; undefined when it is not one of this world's. */
  parseRequestId(id: string): readonly [user: number, session: number] | undefined {
    const match = /^request-(\d{8})-(\d{3})$/.exec(id);
    return match === null ? undefined : [Number(match[1]), Number(match[2])];
  }

  /** The whole life of a user. About 2 us a conversion in a small world. */
  simulate(user: number): UserLife {
    const stream = this.#stream;
    stream.restart(this.seed, DOMAIN.user, user);
    const profile = this.#profile(stream);
    const times = sessionTimes(stream);
    const interestCumulative = runningSum(profile.interestWeights);
    const visited = new Set<number>(profile.interests);
    const converted = new Set<number>();
    const sessions: Session[] = [];
    let drift = -1;
    for (const [number, time] of times.entries()) {
      stream.restart(this.seed, DOMAIN.session, user, number);
      const previousDrift = drift;
      let leaf: number;
      if (stream.chance(law.LONG_TERM_RATE)) {
        leaf = profile.interests[stream.pick(interestCumulative)]!;
      } else {
        if (drift < 0 || !stream.chance(law.DRIFT_RETURN_RATE))
          drift = stream.pick(this.#driftCumulative);
        leaf = drift;
      }
      const differs = !visited.has(leaf);
      visited.add(leaf);
      sessions.push({
        number,
        leaf,
        differs,
        previousDrift,
        ...this.#visit(stream, profile, leaf, time, converted),
        time,
      });
    }
    return { profile, sessions };
  }

  /** What is in view and what is converted in one session; adds the conversions to `converted`. */
  #visit(
    stream: RandomStream,
    profile: Profile,
    leaf: number,
    time: number,
    converted: Set<number>,
  ): Pick<Session, 'subject' | 'query' | 'positives' | 'conversionTimes' | 'purchases'> {
    const search = stream.chance(law.SEARCH_RATE);
    const query = search ? makeQuery(stream, leaf) : '';
    const count = 1 + stream.pick(CONVERSION_CUMULATIVE);
    const drawn = this.drawItems(stream, profile, leaf, search ? count : count + 1, converted);
    const subject = search ? -1 : drawn.shift()!;
    const conversionTimes: number[] = [];
    const purchases: boolean[] = [];
    let now = time;
    for (const item of drawn) {
      now += 30 + stream.below(600);
      conversionTimes.push(now);
      purchases.push(stream.chance(0.7));
      converted.add(item);
    }
    return { subject, query, positives: drawn, conversionTimes, purchases };
  }

  /**
   * `count` distinct items of a leaf, without replacement, by popularity x tasteWeight(): exact in leaves of at most
   * EXACT_LEAF_ITEMS, by importance resampling of popular ones in larger leaves.
   *
   * @param count - at most MIN_LEAF_ITEMS, which every leaf offers everywhere.
   */
  drawItems(
    stream: RandomStream,
    profile: Profile,
    leaf: number,
    count: number,
    converted: ReadonlySet<number>,
  ): number[] {
    const size = this.catalogue.leafSize(leaf);
    return size <= law.EXACT_LEAF_ITEMS
      ? this.#drawExact(stream, profile, leaf, count, converted)
      : this.#drawResampled(stream, profile, leaf, count, converted);
  }

  #drawExact(
    stream: RandomStream,
    profile: Profile,
    leaf: number,
    count: number,
    converted: ReadonlySet<number>,
  ): number[] {
    const offset = this.catalogue.leafOffsets[leaf]!;
    const size = this.catalogue.leafSize(leaf);
    const weights = this.#weights;
    weights.set(this.#leafWeights(profile, leaf, offset, size));
    for (const item of converted)
      if (item >= offset && item < offset + size) weights[item - offset]! *= law.REPEAT_FACTOR;
    let total = 0;
    for (let i = 0; i < size; i++) total += weights[i]!;
    const drawn: number[] = [];
    while (drawn.length < count) {
      const row = scan(weights, size, stream.uniform() * total);
      drawn.push(offset + row);
      total -= weights[row]!;
      weights[row] = 0;
    }
    return drawn;
  }

  #drawResampled(
    stream: RandomStream,
    profile: Profile,
    leaf: number,
    count: number,
    converted: ReadonlySet<number>,
  ): number[] {
    const offset = this.catalogue.leafOffsets[leaf]!;
    const size = this.catalogue.leafSize(leaf);
    const span = zipfSpan(size);
    const items = this.#items;
    const weights = this.#weights;
    const drawn: number[] = [];
    while (drawn.length < count) {
      let total = 0;
      for (let i = 0; i < law.PROPOSALS; i++) {
        const item = offset + zipfRank(stream.uniform(), size, span);
        items[i] = item;
        weights[i] = drawn.includes(item) ? 0 : this.tasteWeight(profile, item, converted);
        total += weights[i]!;
      }
      // One set of proposals serves all draws; it may run dry, and is then made anew.
      while (drawn.length < count && total > 0) {
        const item = items[scan(weights, law.PROPOSALS, stream.uniform() * total)]!;
        drawn.push(item);
        total = 0;
        for (let i = 0; i < law.PROPOSALS; i++) {
          if (items[i] === item) weights[i] = 0;
          total += weights[i]!;
        }
      }
    }
    return drawn;
  }

  /** A leaf's weights for a user, remembered while the user stays: most draws of a life are from few leaves. */
  #leafWeights(profile: Profile, leaf: number, offset: number, size: number): Float64Array {
    const start = leaf * law.EXACT_LEAF_ITEMS;
    const weights = this.#remembered.subarray(start, start + size);
    if (this.#rememberedFor[leaf] === profile) return weights;
    this.#rememberedFor[leaf] = profile;
    for (let i = 0; i < size; i++)
      weights[i] = ZIPF_WEIGHTS[i]! * this.tasteWeight(profile, offset + i, NOTHING);
    return weights;
  }

  /** An item of a leaf by popularity alone, in O(1). */
  drawPopular(stream: RandomStream, leaf: number): number {
    return (
      this.catalogue.leafOffsets[leaf]! + zipfRank(stream.uniform(), this.catalogue.leafSize(leaf))
    );
  }

  /** Weight of an item for a user besides its popularity; 0 where it is not offered. */
  tasteWeight(profile: Profile, item: number, converted: ReadonlySet<number>): number {
    if (!this.catalogue.offeredIn(item, profile.country)) return 0;
    const weight = Math.exp(law.TASTE_STRENGTH * this.affinity(profile, item));
    return converted.has(item) ? weight * law.REPEAT_FACTOR : weight;
  }

  /** taste_u . taste_i */
  affinity(profile: Profile, item: number): number {
    const { tastes } = this.catalogue;
    const { taste } = profile;
    const width = law.TASTE_WIDTH;
    let sum = 0;
    for (let d = 0; d < width; d++) sum += taste[d]! * tastes[item * width + d]!;
    return sum;
  }

  #profile(stream: RandomStream): Profile {
    const age = Math.min(80, Math.max(18, Math.round(38 + 14 * stream.normal())));
    const gender = stream.pick(GENDER_CUMULATIVE);
    const country = stream.pick(COUNTRY_CUMULATIVE);
    const ageKnown = !stream.chance(UNKNOWN_AGE_SHARE);
    const taste = Float64Array.from({ length: law.TASTE_WIDTH }, () => stream.normal());
    // Older users buy at a higher price level.
    taste[0]! += (0.4 * (age - 40)) / 15;
    const side = gender === 0 ? 1 : gender === 1 ? -1 : 0;
    const demand = this.#baseDemand.map(
      (base, leaf) =>
        base *
        Math.exp(
          side * this.#genderTilts[leaf]! +
            ((age - 40) / 15) * this.#ageTilts[leaf]! +
            this.#countryTilts[country * LEAVES.length + leaf]!,
        ),
    );
    const interests: number[] = [];
    const raw: number[] = [];
    const count = 2 + stream.below(3);
    while (interests.length < count) {
      const leaf = stream.pick(runningSum(demand));
      demand[leaf] = 0;
      interests.push(leaf);
      raw.push(0.3 + stream.uniform());
    }
    const total = raw.reduce((sum, weight) => sum + weight, 0);
    return {
      age,
      ageKnown,
      gender,
      country,
      taste,
      interests,
      interestWeights: raw.map((weight) => weight / total),
    };
  }
}

const CONVERSION_CUMULATIVE = Float64Array.from(law.CONVERSIONS);

const ZIPF_WEIGHTS = Float64Array.from({ length: law.EXACT_LEAF_ITEMS }, (_, index) =>
  Math.pow(index + 1, -law.ITEM_ZIPF_EXPONENT),
);

/** First row whose running sum exceeds `target`; the last row with weight when rounding left none. */
function scan(weights: Float64Array, length: number, target: number): number {
  let last = 0;
  for (let i = 0; i < length; i++) {
    if (weights[i]! <= 0) continue;
    last = i;
    target -= weights[i]!;
    if (target < 0) break;
  }
  return last;
}

const ZIPF_POWER = 1 - law.ITEM_ZIPF_EXPONENT;
const ZIPF_LOW = Math.pow(0.5, ZIPF_POWER);

/** Rank in [0, size) by the continuous Zipf law of the same exponent, in O(1): the integral of x^-s, inverted. */
function zipfRank(uniform: number, size: number, span: number = zipfSpan(size)): number {
  return Math.min(size - 1, Math.floor(Math.pow(ZIPF_LOW + uniform * span, 1 / ZIPF_POWER) - 0.5));
}

/** The integral over a leaf's ranks, for callers that draw many. */
function zipfSpan(size: number): number {
  return Math.pow(size + 0.5, ZIPF_POWER) - ZIPF_LOW;
}

/** Ascending start times, SESSION_GAP_SECONDS apart; at least one. */
function sessionTimes(stream: RandomStream): number[] {
  const late = stream.chance(law.LATE_JOINER_SHARE);
  const firstDay = late ? stream.below(law.WORLD_DAYS - 5) : 0;
  const share = (law.WORLD_DAYS - firstDay) / law.WORLD_DAYS;
  const wanted = Math.exp(law.ACTIVITY_MEAN + law.ACTIVITY_SPREAD * stream.normal()) * share;
  const count = Math.max(1, Math.min(law.MAX_SESSIONS, Math.round(wanted)));
  const times: number[] = [];
  for (let i = 0; i < count; i++) {
    const day = firstDay + stream.below(law.WORLD_DAYS - firstDay);
    // Most visits in the afternoon, UTC; clipped so that a session ends on its own day.
    const hour = Math.min(22.5, Math.max(0, 15 + 4 * stream.normal()));
    times.push(law.WORLD_START + day * DAY_SECONDS + Math.floor(hour * 3600));
  }
  times.sort((a, b) => a - b);
  const kept: number[] = [];
  for (const time of times)
    if (kept.length === 0 || time - kept.at(-1)! >= law.SESSION_GAP_SECONDS) kept.push(time);
  return kept;
}

/** One to three words around a leaf, sometimes with a filler word, sometimes mistyped. */
function makeQuery(stream: RandomStream, leaf: number): string {
  const { words, root } = LEAVES[leaf]!;
  const chosen = new Set<string>();
  const count = 1 + stream.below(3);
  for (let i = 0; i < count; i++) chosen.add(words[stream.below(words.length)]!);
  const text = [...chosen];
  if (stream.chance(0.2)) text.push(ROOTS[root]!);
  if (stream.chance(0.3)) text.unshift(QUERY_FILLERS[stream.below(QUERY_FILLERS.length)]!);
  return text
    .map((word) => (stream.chance(law.TYPO_RATE) ? mistype(stream, word) : word))
    .join(' ');
}

/** Drops, doubles or swaps a letter. */
function mistype(stream: RandomStream, word: string): string {
  if (word.length < 4) return word;
  const at = 1 + stream.below(word.length - 2);
  const kind = stream.below(3);
  if (kind === 0) return word.slice(0, at) + word.slice(at + 1);
  if (kind === 1) return word.slice(0, at) + word[at]! + word.slice(at);
  return word.slice(0, at) + word[at + 1]! + word[at]! + word.slice(at + 2);
}

function runningSum(weights: ArrayLike<number>): Float64Array {
  const sums = new Float64Array(weights.length);
  let sum = 0;
  for (let i = 0; i < weights.length; i++) sums[i] = sum += weights[i]!;
  return sums;
}
