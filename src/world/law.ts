// The constants that define the synthetic world. docs/explanation/synthetic-world.md explains and
// derives them. A change here changes every dataset: raise WORLD_VERSION with it.

import { TandemError } from '../errors.ts';
import { DAY_SECONDS } from '../time.ts';

const WORLD_VERSION = 1;

export const WORLD_DAYS = 90;
/** 2026-01-01T00:00:00Z. */
export const WORLD_START: number = Date.UTC(2026, 0, 1) / 1000;
export const WORLD_END: number = WORLD_START + WORLD_DAYS * DAY_SECONDS;
/** Requests from here on are for reported numbers, earlier ones for choices. */
export const TEST_FROM: number = WORLD_END - 7 * DAY_SECONDS;

// Catalogue.
/** The leaf of rank r holds a share of the items proportional to r^-0.5. */
export const LEAF_SIZE_EXPONENT = 0.5;
/** The item of rank r within its leaf has popularity r^-0.6. */
export const ITEM_ZIPF_EXPONENT = 0.6;
/**
 * Least number of items of a leaf. A leaf offers this many of its most popular items in every
 * country.
 */
export const MIN_LEAF_ITEMS = 8;
/** Width of the latent taste of users and items; dimension 0 is the price level. */
export const TASTE_WIDTH = 4;
/** Share of the variance of an item's taste that comes from its advertiser. */
export const BRAND_SHARE = 0.6;
export const ITEMS_PER_ADVERTISER = 25;
export const RESTRICTED_ITEM_SHARE = 0.15;
/** Share of items to which the classifier also gives a sibling of the leaf. */
export const SIBLING_RATE = 0.7;
/** Share of items to which the classifier also gives any wrong leaf. */
export const WRONG_LEAF_RATE = 0.25;
/** Share of items for which the classifier puts the sibling above the true leaf. */
export const SWAPPED_LEAF_RATE = 0.06;

// Users.
/**
 * ln of the number of sessions is N(ACTIVITY_MEAN, ACTIVITY_SPREAD), at most MAX_SESSIONS: 12
 * sessions on average.
 */
export const ACTIVITY_MEAN = 2.3;
export const ACTIVITY_SPREAD = 0.8;
export const MAX_SESSIONS = 200;
export const LATE_JOINER_SHARE = 0.15;
/** Gender, age and country each change the ln demand of a leaf with this standard deviation. */
export const DEMOGRAPHIC_SPREAD = 0.4;
/** Long-term demand of the leaf of rank r is r^-0.6 times the demographic factors. */
export const INTEREST_EXPONENT = 0.6;

// Sessions.
/** Share of sessions with a long-term interest as intent. */
export const LONG_TERM_RATE = 0.33;
/**
 * Share of the other sessions that return to the latest drifting intent; the rest draw a new one.
 */
export const DRIFT_RETURN_RATE = 0.12;
/** A new intent does not depend on the user: the leaf of rank r has weight r^-0.3. */
export const DRIFT_EXPONENT = 0.3;
/** ln weight of item i for user u is ln popularity + TASTE_STRENGTH * (taste_u . taste_i). */
export const TASTE_STRENGTH = 0.6;
/** Factor on the weight of an item that the user converted before. */
export const REPEAT_FACTOR = 0.05;
/** Cumulative chances of 1, 2, 3 and 4 conversions in a session: 2.15 on average. */
export const CONVERSIONS: readonly number[] = [0.35, 0.65, 0.85, 1];
export const SEARCH_RATE = 0.35;
export const TYPO_RATE = 0.08;
/** Least time between the starts of two sessions of a user; sessions are much shorter. */
export const SESSION_GAP_SECONDS = 7_200;
/**
 * Draws from leaves up to this size are exact; draws from larger leaves resample PROPOSALS popular
 * items by importance.
 */
export const EXACT_LEAF_ITEMS = 400;
export const PROPOSALS = 64;

// Delivery.
export const SLOTS = 3;
/** Standard deviation of the ranker's error in ln relevance. */
export const RANKER_NOISE = 0.35;
/** True conversion rate, at average taste, of a shown item of the session's leaf. */
export const INTENT_RATE = 0.02;
/** The same of an item of a long-term interest. */
export const INTEREST_RATE = 0.004;
/** The same of any other item. */
export const OTHER_RATE = 0.0004;

/** Everything in a world follows from these three numbers. */
export interface WorldSize {
  readonly users: number;
  readonly items: number;
  readonly seed: number;
}

export const DEFAULT_WORLD: WorldSize = { users: 7_000, items: 4_000, seed: 1 };

const LIMITS = {
  users: { min: 1, max: 50_000_000 },
  // The minimum lets every leaf have items; the maximum keeps the permutation of ids exact in a
  // double.
  items: { min: 1_000, max: 50_000_000 },
  seed: { min: 0, max: 4_294_967_295 },
} as const;

/**
 * Checks the size of a world.
 *
 * @throws TandemError ERR_INVALID_ARGUMENT naming the number that is out of range, and its range.
 */
export function checkWorldSize(size: WorldSize): void {
  for (const name of ['users', 'items', 'seed'] as const) {
    const { min, max } = LIMITS[name];
    if (!Number.isSafeInteger(size[name]) || size[name] < min || size[name] > max)
      throw new TandemError(
        'ERR_INVALID_ARGUMENT',
        `Expected an integer from ${min} to ${max} for ${name} of the synthetic world, ` +
          `received ${size[name]}.`,
        { details: { field: name, received: size[name] } },
      );
  }
}

/** Name of a world's dataset. parseWorldName() opens the world again from it. */
export function worldName({ users, items, seed }: WorldSize): string {
  return `synthetic-ads-world-v${WORLD_VERSION}-u${users}-i${items}-s${seed}`;
}

/** Size of the world with this dataset name; undefined when it is not a world of this version. */
export function parseWorldName(name: string): WorldSize | undefined {
  const match = /^synthetic-ads-world-v(\d+)-u(\d+)-i(\d+)-s(\d+)$/.exec(name);
  if (match === null || Number(match[1]) !== WORLD_VERSION) return undefined;
  return { users: Number(match[2]), items: Number(match[3]), seed: Number(match[4]) };
}
