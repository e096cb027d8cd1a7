// Users and their sessions in 90 days. A user is a function of (seed, user) and does not depend on
// other users. So simulating a million users needs the memory of one.

import { DAY_SECONDS } from '../time.ts';
import type { Catalogue } from './catalogue.ts';
import { ItemSampler } from './item-sampler.ts';
import * as law from './law.ts';
import { ProfileGenerator, type Profile } from './profile.ts';
import { DOMAIN, RandomStream, runningSum } from './random.ts';
import { drawQuery } from './search-query.ts';

/** One visit with one intent: a request, and the conversions that follow it. */
export interface Session {
  /** Index among the user's sessions, in order of time. */
  readonly number: number;
  /** The intent. */
  readonly leaf: number;
  /** Whether the intent is neither a long-term interest nor the leaf of an earlier session. */
  readonly differs: boolean;
  /** The latest drifting intent before this session; -1 when there was none. */
  readonly previousDrift: number;
  /** Unix seconds of the request. */
  readonly time: number;
  /** The item in view; -1 for a search. */
  readonly subject: number;
  /** Empty when an item is in view. */
  readonly query: string;
  /** Converted items: distinct, never the subject. */
  readonly positives: readonly number[];
  /** Unix seconds of each conversion, ascending, all after the request. */
  readonly conversionTimes: readonly number[];
  /** Whether each conversion is a purchase; the others are additions to the cart. */
  readonly purchases: readonly boolean[];
}

export interface UserLife {
  readonly profile: Profile;
  /** By time. */
  readonly sessions: readonly Session[];
}

/** Simulates the users of one world, one at a time. */
export class Population {
  readonly catalogue: Catalogue;
  readonly sampler: ItemSampler;
  readonly seed: number;
  /** [leaves], sums to 1: the chance that a new drifting intent is each leaf. */
  readonly driftShares: Float64Array;
  readonly #driftCumulative: Float64Array;
  readonly #profiles: ProfileGenerator;
  readonly #stream: RandomStream;

  constructor(catalogue: Catalogue) {
    this.catalogue = catalogue;
    this.sampler = new ItemSampler(catalogue);
    this.seed = catalogue.seed;
    const drift = Float64Array.from(catalogue.leafRanks, (rank) =>
      Math.pow(rank + 1, -law.DRIFT_EXPONENT),
    );
    const total = drift.reduce((sum, weight) => sum + weight, 0);
    this.driftShares = drift.map((weight) => weight / total);
    this.#driftCumulative = runningSum(this.driftShares);
    this.#profiles = new ProfileGenerator(catalogue);
    this.#stream = new RandomStream(this.seed, DOMAIN.user, 0);
  }

  userId(user: number): string {
    return `user-${String(user).padStart(8, '0')}`;
  }

  requestId(user: number, session: number): string {
    return `request-${String(user).padStart(8, '0')}-${String(session).padStart(3, '0')}`;
  }

  /** User and session number of a request id; undefined when the id is not of a synthetic world. */
  parseRequestId(id: string): readonly [user: number, session: number] | undefined {
    const match = /^request-(\d{8})-(\d{3})$/.exec(id);
    return match === null ? undefined : [Number(match[1]), Number(match[2])];
  }

  /** Simulates the whole life of a user, in about 2 us per conversion in a small world. */
  simulate(user: number): UserLife {
    const stream = this.#stream;
    stream.restart(this.seed, DOMAIN.user, user);
    const profile = this.#profiles.draw(stream);
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
      const visit = this.#visit(stream, profile, leaf, time, converted);
      sessions.push({ number, leaf, differs, previousDrift, ...visit, time });
    }
    return { profile, sessions };
  }

  /** Draws subject and conversions of one session; adds the conversions to `converted`. */
  #visit(
    stream: RandomStream,
    profile: Profile,
    leaf: number,
    time: number,
    converted: Set<number>,
  ): Pick<Session, 'subject' | 'query' | 'positives' | 'conversionTimes' | 'purchases'> {
    const search = stream.chance(law.SEARCH_RATE);
    const query = search ? drawQuery(stream, leaf) : '';
    const count = 1 + stream.pick(CONVERSION_CUMULATIVE);
    const items = search ? count : count + 1;
    const drawn = this.sampler.drawItems(stream, profile, leaf, items, converted);
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
}

const CONVERSION_CUMULATIVE = Float64Array.from(law.CONVERSIONS);

/** Draws start times: at least one, ascending, at least SESSION_GAP_SECONDS apart. */
function sessionTimes(stream: RandomStream): number[] {
  const late = stream.chance(law.LATE_JOINER_SHARE);
  const firstDay = late ? stream.below(law.WORLD_DAYS - 5) : 0;
  const share = (law.WORLD_DAYS - firstDay) / law.WORLD_DAYS;
  const wanted = Math.exp(law.ACTIVITY_MEAN + law.ACTIVITY_SPREAD * stream.normal()) * share;
  const count = Math.max(1, Math.min(law.MAX_SESSIONS, Math.round(wanted)));
  const times: number[] = [];
  for (let i = 0; i < count; i++) {
    const day = firstDay + stream.below(law.WORLD_DAYS - firstDay);
    // Most visits are in the afternoon, UTC. The clip lets a session end on its own day.
    const hour = Math.min(22.5, Math.max(0, 15 + 4 * stream.normal()));
    times.push(law.WORLD_START + day * DAY_SECONDS + Math.floor(hour * 3600));
  }
  times.sort((a, b) => a - b);
  const kept: number[] = [];
  for (const time of times)
    if (kept.length === 0 || time - kept.at(-1)! >= law.SESSION_GAP_SECONDS) kept.push(time);
  return kept;
}
