// The constants of the synthetic world, in one place: what the world is. docs/explanation/synthetic-world.md explains and derives them.
// A change here changes every dataset: raise WORLD_VERSION with it.

import { TandemError } from '../errors.ts';
import { DAY_SECONDS } from '../time.ts';

export const WORLD_VERSION = 1;

export const WORLD_DAYS = 90;
/** 2026-01-01T00:00:00Z. */
export const WORLD_START: number = Date.UTC(2026, 0, 1) / 1000;
export const WORLD_END: number = WORLD_START + WORLD_DAYS * DAY_SECONDS;
/** Requests of [validation, test) are for choices, those of [test, end) for numbers. */
export const VALIDATION_FROM: number = WORLD_END - 14 * DAY_SECONDS;
export const TEST_FROM: number = WORLD_END - 7 * DAY_SECONDS;

// Catalogue.
/** Leaf of size rank r holds a share of the items proportional to r^-0.5. */
export const LEAF_SIZE_EXPONENT = 0.5;
/** Popularity of the item of rank r within its leaf: r^-0.6. */
export const ITEM_ZIPF_EXPONENT = 0.6;
/** Every leaf has at least these many items, and its most popular ones are offered in every country. */
export const MIN_LEAF_ITEMS = 8;
/** Width of the latent taste of users and items; dimension 0 is the price level. */
export const TASTE_WIDTH = 4;
/** Share of an item's taste vector (in variance) that is its advertiser's. */
export const BRAND_SHARE = 0.6;
export const ITEMS_PER_ADVERTISER = 25;
export const RESTRICTED_ITEM_SHARE = 0.15;
/** The classifier lists a sibling, and any wrong leaf, this often. */
export const SIBLING_RATE = 0.7;
export const WRONG_LEAF_RATE = 0.25;
/** The classifier puts the sibling above the true leaf this often. */
export const SWAPPED_LEAF_RATE = 0.06;

// Users.
/** ln of the number of sessions is N(ACTIVITY_MEAN, ACTIVITY_SPREAD), at most MAX_SESSIONS: 12 sessions on average. */
export const ACTIVITY_MEAN = 2.3;
export const ACTIVITY_SPREAD = 0.8;
export const MAX_SESSIONS = 200;
export const LATE_JOINER_SHARE = 0.15;
/** Spread of ln demand that gender, age and country each give a leaf. */
export const DEMOGRAPHIC_SPREAD = 0.4;
/** Long-term interests: demand of the leaf of rank r is r^-0.6 times the demographic factors. */
export const INTEREST_EXPONENT = 0.6;

// Sessions.
/** Share of sessions that pursue a long-term interest. */
export const LONG_TERM_RATE = 0.33;
/** Of the others, the share that returns to the latest drifting intent; the rest draws a new one. */
export const DRIFT_RETURN_RATE = 0.12;
/** A new intent ignores the user altogether: leaf of rank r with r^-0.3. */
export const DRIFT_EXPONENT = 0.3;
/** ln weight of item i for user u is ln popularity + TASTE_STRENGTH * (taste_u . taste_i). */
export const TASTE_STRENGTH = 0.6;
/** An item that the user converted before counts this much of its weight. */
export const REPEAT_FACTOR = 0.05;
/** Cumulative chances of 1, 2, 3, 4 conversions in a session: 2.15 on average. */
export const CONVERSIONS: readonly number[] = [0.35, 0.65, 0.85, 1];
export const MAX_CONVERSIONS: number = CONVERSIONS.length;
export const SEARCH_RATE = 0.35;
export const TYPO_RATE = 0.08;
/** Sessions of a user start at least this far apart, and end well before. */
export const SESSION_GAP_SECONDS = 7_200;
/** Leaves up to this size are drawn from exactly; larger ones by importance resampling of PROPOSALS popular items. */
export const EXACT_LEAF_ITEMS = 400;
export const PROPOSALS = 64;

// Delivery.
export const SLOTS = 3;
/** Spread of the ranker's error, in ln relevance. */
export const RANKER_NOISE = 0.35;
/** True conversion rate of a shown item of the session's leaf, of a long-term interest, of anything else, at average taste. */
export const INTENT_RATE = 0.02;
export const INTEREST_RATE = 0.004;
export const OTHER_RATE = 0.0004;

/** What names a world: everything else follows from these three. */
export interface WorldSize {
  readonly users: number;
  readonly items: number;
  readonly seed: number;
}

export const DEFAULT_WORLD: WorldSize = { users: 7_000, items: 4_000, seed: 1 };

const LIMITS = {
  users: { min: 1, max: 50_000_000 },
  // The floor keeps every leaf filled; the ceiling keeps the permutation of ids exact in a double.
  items: { min: 1_000, max: 50_000_000 },
  seed: { min: 0, max: 4_294_967_295 },
} as const;

/** @throws TandemError ERR_INVALID_ARGUMENT naming the size and its range. */
export function checkWorldSize(size: WorldSize): void {
  for (const name of ['users', 'items', 'seed'] as const) {
    const { min, max } = LIMITS[name];
    if (!Number.isSafeInteger(size[name]) || size[name] < min || size[name] > max)
      throw new TandemError(
        'ERR_INVALID_ARGUMENT',
        `Expected an integer from ${min} to ${max} for ${name} of the synthetic world, received ${size[name]}.`,
        { details: { field: name, received: size[name] } },
      );
  }
}

/** Name of the dataset; it alone is enough to open the world again. */
export function worldName({ users, items, seed }: WorldSize): string {
  return `synthetic-ads-world-v${WORLD_VERSION}-u${users}-i${items}-s${seed}`;
}

/** The world of a dataset's name; undefined when the dataset is not of this version's world. */
export function parseWorldName(name: string): WorldSize | undefined {
  const match = /^synthetic-ads-world-v(\d+)-u(\d+)-i(\d+)-s(\d+)$/.exec(name);
  if (match === null || Number(match[1]) !== WORLD_VERSION) return undefined;
  return { users: Number(match[2]), items: Number(match[3]), seed: Number(match[4]) };
}
