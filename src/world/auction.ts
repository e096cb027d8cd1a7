// What happens downstream of candidate generation: a ranker with an error, and a second-price auction against the
// candidates of other generators. A simulation, and every report that uses it says so.

import type { Dataset, RequestRecord } from '../data/dataset.ts';
import { Catalogue } from './catalogue.ts';
import * as law from './law.ts';
import { Population, type Profile, type Session, type UserLife } from './population.ts';
import { DOMAIN, RandomStream, uniformAt } from './random.ts';
import { LEAVES } from './taxonomy.ts';

const NOTHING: ReadonlySet<number> = new Set();
const CANDIDATES_PER_SOURCE = 4;

export interface AuctionOutcome {
  /** Items in slot order, at most SLOTS, never the subject; own and others' candidates alike. */
  readonly won: readonly number[];
  /** [candidates] 1 where the candidate won a slot. */
  readonly survived: Uint8Array;
  /** [candidates] true conversion rate if shown; 0 where the item is not offered to the user. */
  readonly relevances: Float64Array;
  /** Expected payments, and expected price of what is bought, over the slots that own candidates won. */
  readonly spend: number;
  readonly revenue: number;
}

/** Ranker and auction of one world. The same (request, item) gets the same prediction whoever proposes it. */
export class Auction {
  readonly population: Population;
  readonly #stream: RandomStream;

  constructor(population: Population) {
    this.population = population;
    this.#stream = new RandomStream(population.seed, DOMAIN.auction, 0);
  }

  /** True conversion rate of an item shown in a session, in [0, 0.5]. */
  relevance(profile: Profile, session: Session, item: number): number {
    const { catalogue } = this.population;
    const taste = this.population.tasteWeight(profile, item, NOTHING);
    const leaf = catalogue.leafOf(item);
    const rate =
      leaf === session.leaf
        ? law.INTENT_RATE
        : profile.interests.includes(leaf)
          ? law.INTEREST_RATE
          : law.OTHER_RATE;
    return Math.min(0.5, rate * taste);
  }

  /**
   * Candidates of the logging policy: from two long-term interests, as a generator without context would.
   *
   * @returns distinct items.
   */
  loggedCandidates(user: number, profile: Profile, session: Session): number[] {
    const stream = this.#stream;
    stream.restart(this.population.seed, DOMAIN.auction, user, 2 * session.number);
    const first = stream.below(profile.interests.length);
    const other = (first + 1) % profile.interests.length;
    const draw = (interest: number): number[] =>
      this.population.drawItems(
        stream,
        profile,
        profile.interests[interest]!,
        CANDIDATES_PER_SOURCE,
        NOTHING,
      );
    return draw(first).concat(draw(other));
  }

  /** Candidates of everybody else's generators: some know the intent, some the history, some neither. */
  #rivals(user: number, profile: Profile, session: Session): number[] {
    const stream = this.#stream;
    stream.restart(this.population.seed, DOMAIN.auction, user, 2 * session.number + 1);
    const interest = profile.interests[stream.below(profile.interests.length)]!;
    const { population } = this;
    const count = CANDIDATES_PER_SOURCE;
    const rivals = population.drawItems(stream, profile, session.leaf, count, NOTHING);
    for (const item of population.drawItems(stream, profile, interest, count, NOTHING))
      rivals.push(item);
    for (let i = 0; i < count; i++)
      rivals.push(population.drawPopular(stream, stream.below(LEAVES.length)));
    return rivals;
  }

  /**
   * Ranks a generator's candidates and the rivals' by bid x predicted relevance, and gives SLOTS to the best.
   *
   * A winner pays, per conversion, what would just have kept its slot, never more than its bid. An advertiser whose
   * daily budget lasts for a share of its auctions takes part in that share of them.
   *
   * @param candidates - items without duplicates; order does not matter.
   */
  run(
    user: number,
    profile: Profile,
    session: Session,
    candidates: readonly number[],
  ): AuctionOutcome {
    const { catalogue, seed } = this.population;
    const request = user * 256 + session.number;
    const relevances = new Float64Array(candidates.length);
    const survived = new Uint8Array(candidates.length);
    // One place more than there are slots: the first loser sets the last price.
    const places: Entry[] = [];
    const enter = (item: number, row: number): void => {
      const relevance = this.relevance(profile, session, item);
      if (row >= 0) relevances[row] = relevance;
      if (relevance === 0 || item === session.subject) return;
      const advertiser = catalogue.advertisers[item]!;
      if (uniformAt(seed, DOMAIN.pacing, advertiser, request) > catalogue.budgetRatios[advertiser]!)
        return;
      const predicted = relevance * Math.exp(law.RANKER_NOISE * normalAt(seed, item, request));
      const rank = predicted * catalogue.bids[item]!;
      let place = places.length;
      while (place > 0 && ranksAbove(rank, item, places[place - 1]!)) place--;
      if (place > law.SLOTS) return;
      places.splice(place, 0, { item, row, relevance, predicted, rank });
      if (places.length > law.SLOTS + 1) places.pop();
    };
    for (let row = 0; row < candidates.length; row++) enter(candidates[row]!, row);
    // A rival's candidate that is also ours is ours; large candidate sets get a set, small ones a scan.
    const own = candidates.length > 32 ? new Set(candidates) : undefined;
    const rivals = this.#rivals(user, profile, session);
    for (let i = 0; i < rivals.length; i++) {
      const item = rivals[i]!;
      if (own === undefined ? candidates.includes(item) : own.has(item)) continue;
      if (rivals.indexOf(item) === i) enter(item, -1);
    }
    let spend = 0;
    let revenue = 0;
    const won: number[] = [];
    for (let slot = 0; slot < Math.min(law.SLOTS, places.length); slot++) {
      const entry = places[slot]!;
      won.push(entry.item);
      if (entry.row < 0) continue;
      survived[entry.row] = 1;
      spend += (entry.relevance * (places[slot + 1]?.rank ?? 0)) / entry.predicted;
      revenue += entry.relevance * catalogue.prices[entry.item]!;
    }
    return { won, survived, relevances, spend, revenue };
  }
}

interface Entry {
  readonly item: number;
  /** Row of the candidates, -1 for a rival's. */
  readonly row: number;
  readonly relevance: number;
  readonly predicted: number;
  /** bid x predicted */
  readonly rank: number;
}

function ranksAbove(rank: number, item: number, other: Entry): boolean {
  return rank > other.rank || (rank === other.rank && item < other.item);
}

/** The ranker's error for an item in a request (Box-Muller), the same for whoever proposes the item. */
function normalAt(seed: number, item: number, request: number): number {
  const radius = Math.sqrt(-2 * Math.log(uniformAt(seed, DOMAIN.prediction, item, 2 * request)));
  return radius * Math.cos(2 * Math.PI * uniformAt(seed, DOMAIN.prediction, item, 2 * request + 1));
}

export interface DeliveryOutcome extends Omit<AuctionOutcome, 'won'> {
  /** Item slots of the dataset, own and others' alike. */
  readonly delivered: readonly number[];
}

/** The auction behind a dataset that generateWorld made, in terms of the dataset's slots. */
export interface WorldDelivery {
  /**
   * Puts candidates through ranker and auction.
   *
   * @param candidates - item slots without duplicates.
   * @returns rows of `survived` and `relevances` follow `candidates`; amounts are expectations, in the currency of prices.
   */
  deliver(request: RequestRecord, candidates: ArrayLike<number>): DeliveryOutcome;
}

/** Opens the simulated downstream of a dataset; undefined when the dataset is not a synthetic world of this version. */
export function openWorldDelivery(dataset: Dataset): WorldDelivery | undefined {
  const size = law.parseWorldName(dataset.name);
  if (size === undefined) return undefined;
  const catalogue = new Catalogue(size.seed, size.items);
  const population = new Population(catalogue);
  const auction = new Auction(population);
  const itemOfSlot = Int32Array.from(dataset.items.ids, (id) => catalogue.itemOf(id));
  const slotOfItem = new Int32Array(size.items).fill(-1);
  for (const [slot, item] of itemOfSlot.entries()) if (item >= 0) slotOfItem[item] = slot;
  let cached: { user: number; life: UserLife } | undefined;
  return {
    deliver(request, candidates) {
      const address = population.parseRequestId(request.id);
      if (address === undefined)
        throw new RangeError(
          `Expected a request of the synthetic world, received id "${request.id}".`,
        );
      const [user, number] = address;
      if (cached?.user !== user) cached = { user, life: population.simulate(user) };
      const session = cached.life.sessions[number];
      if (session === undefined)
        throw new RangeError(
          `Expected a session of ${population.userId(user)}, received "${request.id}".`,
        );
      const items = Array.from(candidates, (slot) => itemOfSlot[slot]!);
      const { won, ...outcome } = auction.run(user, cached.life.profile, session, items);
      return { ...outcome, delivered: won.map((item) => slotOfItem[item]!) };
    },
  };
}
