// Simulates what happens to candidates downstream: a ranker with an error, and a second-price
// auction against the candidates of other generators. Every report that uses it says that it is a
// simulation.

import type { Dataset, RequestRecord } from '../data/dataset.ts';
import { Catalogue } from './catalogue.ts';
import * as law from './law.ts';
import { Population, type Session, type UserLife } from './population.ts';
import type { Profile } from './profile.ts';
import { DOMAIN, RandomStream, uniformAt } from './random.ts';
import { LEAVES } from './taxonomy.ts';

const NOTHING: ReadonlySet<number> = new Set();
const CANDIDATES_PER_SOURCE = 4;

export interface AuctionOutcome {
  /**
   * Items in the order of the slots, at most SLOTS, own and rival candidates alike; never the
   * subject.
   */
  readonly won: readonly number[];
  /** [candidates] 1 where the candidate won a slot, else 0. */
  readonly survived: Uint8Array;
  /** [candidates] true conversion rate when shown; 0 where the item is not offered to the user. */
  readonly relevances: Float64Array;
  /** Expected payments for the slots that own candidates won. */
  readonly spend: number;
  /** Expected price of the items that are bought in those slots. */
  readonly revenue: number;
}

/**
 * The ranker and the auction of one world. In a request, an item gets the same prediction from the
 * ranker, whichever generator proposes it.
 */
export class Auction {
  readonly population: Population;
  readonly #stream: RandomStream;

  constructor(population: Population) {
    this.population = population;
    this.#stream = new RandomStream(population.seed, DOMAIN.auction, 0);
  }

  /** True conversion rate of an item when it is shown in a session, in [0, 0.5]. */
  relevance(profile: Profile, session: Session, item: number): number {
    const { catalogue } = this.population;
    const taste = this.population.sampler.tasteWeight(profile, item, NOTHING);
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
   * Candidates of the logging policy: from two long-term interests, like a generator without
   * context.
   *
   * @returns distinct items.
   */
  loggedCandidates(user: number, profile: Profile, session: Session): number[] {
    const stream = this.#stream;
    stream.restart(this.population.seed, DOMAIN.auction, user, 2 * session.number);
    const first = stream.below(profile.interests.length);
    const other = (first + 1) % profile.interests.length;
    const draw = (interest: number): number[] =>
      this.population.sampler.drawItems(
        stream,
        profile,
        profile.interests[interest]!,
        CANDIDATES_PER_SOURCE,
        NOTHING,
      );
    return draw(first).concat(draw(other));
  }

  /** Candidates of rival generators: some know the intent, some the history, some neither. */
  #rivals(user: number, profile: Profile, session: Session): number[] {
    const stream = this.#stream;
    stream.restart(this.population.seed, DOMAIN.auction, user, 2 * session.number + 1);
    const interest = profile.interests[stream.below(profile.interests.length)]!;
    const { sampler } = this.population;
    const count = CANDIDATES_PER_SOURCE;
    const rivals = sampler.drawItems(stream, profile, session.leaf, count, NOTHING);
    for (const item of sampler.drawItems(stream, profile, interest, count, NOTHING))
      rivals.push(item);
    for (let i = 0; i < count; i++)
      rivals.push(sampler.drawPopular(stream, stream.below(LEAVES.length)));
    return rivals;
  }

  /**
   * Ranks a generator's candidates and the rivals' candidates by bid x predicted relevance. The
   * best SLOTS candidates win a slot each.
   *
   * A winner pays per conversion the lowest bid that would have kept its slot, at most its own bid.
   * When an advertiser's daily budget lasts for a share of its auctions, it takes part in that
   * share of them.
   *
   * @param candidates - items without duplicates, in any order.
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
    // One entry more than there are slots: the first loser sets the price of the last slot.
    const ranked: Entry[] = [];
    const enter = (item: number, index: number): void => {
      const relevance = this.relevance(profile, session, item);
      if (index >= 0) relevances[index] = relevance;
      if (relevance === 0 || item === session.subject) return;
      const advertiser = catalogue.advertisers[item]!;
      if (uniformAt(seed, DOMAIN.pacing, advertiser, request) > catalogue.budgetRatios[advertiser]!)
        return;
      const predicted = relevance * Math.exp(law.RANKER_NOISE * normalAt(seed, item, request));
      const rank = predicted * catalogue.bids[item]!;
      let at = ranked.length;
      while (at > 0 && ranksAbove(rank, item, ranked[at - 1]!)) at--;
      if (at > law.SLOTS) return;
      ranked.splice(at, 0, { item, index, relevance, predicted, rank });
      if (ranked.length > law.SLOTS + 1) ranked.pop();
    };
    for (let i = 0; i < candidates.length; i++) enter(candidates[i]!, i);
    // An item that both sides propose counts as the generator's own. Among few candidates, a scan
    // is faster than a set.
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
    for (let slot = 0; slot < Math.min(law.SLOTS, ranked.length); slot++) {
      const entry = ranked[slot]!;
      won.push(entry.item);
      if (entry.index < 0) continue;
      survived[entry.index] = 1;
      spend += (entry.relevance * (ranked[slot + 1]?.rank ?? 0)) / entry.predicted;
      revenue += entry.relevance * catalogue.prices[entry.item]!;
    }
    return { won, survived, relevances, spend, revenue };
  }
}

interface Entry {
  readonly item: number;
  /** Position among the candidates; -1 for a rival's candidate. */
  readonly index: number;
  readonly relevance: number;
  readonly predicted: number;
  /** bid x predicted. */
  readonly rank: number;
}

function ranksAbove(rank: number, item: number, other: Entry): boolean {
  return rank > other.rank || (rank === other.rank && item < other.item);
}

/** The ranker's error for an item in a request, standard normal by Box-Muller. */
function normalAt(seed: number, item: number, request: number): number {
  const radius = Math.sqrt(-2 * Math.log(uniformAt(seed, DOMAIN.prediction, item, 2 * request)));
  return radius * Math.cos(2 * Math.PI * uniformAt(seed, DOMAIN.prediction, item, 2 * request + 1));
}

export interface DeliveryOutcome extends Omit<AuctionOutcome, 'won'> {
  /** Item rows of the dataset in the order of the slots, own and rival candidates alike. */
  readonly delivered: readonly number[];
}

/** The auction of a dataset that generateWorld made, in item rows of the dataset. */
export interface WorldDelivery {
  /**
   * Puts candidates through ranker and auction.
   *
   * @param candidates - item rows without duplicates.
   * @returns `survived` and `relevances` in the order of `candidates`; amounts are expectations in
   *   the currency of prices.
   */
  deliver(request: RequestRecord, candidates: ArrayLike<number>): DeliveryOutcome;
}

/**
 * Opens the auction of a dataset; undefined when the dataset is not a synthetic world of this
 * version.
 */
export function openWorldDelivery(dataset: Dataset): WorldDelivery | undefined {
  const size = law.parseWorldName(dataset.name);
  if (size === undefined) return undefined;
  const catalogue = new Catalogue(size.seed, size.items);
  const population = new Population(catalogue);
  const auction = new Auction(population);
  const itemOfRow = Int32Array.from(dataset.items.ids, (id) => catalogue.itemOf(id));
  const rowOfItem = new Int32Array(size.items).fill(-1);
  for (const [row, item] of itemOfRow.entries()) if (item >= 0) rowOfItem[item] = row;
  let cached: { user: number; life: UserLife } | undefined;
  return {
    deliver(request, candidates) {
      const address = population.parseRequestId(request.id);
      if (address === undefined)
        throw new RangeError(
          `Expected the id of a request of the synthetic world, received "${request.id}".`,
        );
      const [user, number] = address;
      if (cached?.user !== user) cached = { user, life: population.simulate(user) };
      const session = cached.life.sessions[number];
      if (session === undefined)
        throw new RangeError(
          `Expected a session of ${population.userId(user)}, received "${request.id}".`,
        );
      const items = Array.from(candidates, (row) => itemOfRow[row]!);
      const { won, ...outcome } = auction.run(user, cached.life.profile, session, items);
      return { ...outcome, delivered: won.map((item) => rowOfItem[item]!) };
    },
  };
}
