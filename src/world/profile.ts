// Draws the profiles of users of the synthetic world: demographics, taste and long-term interests.

import type { Catalogue } from './catalogue.ts';
import * as law from './law.ts';
import { DOMAIN, RandomStream, runningSum } from './random.ts';
import { COUNTRIES, LEAVES } from './taxonomy.ts';

const COUNTRY_CUMULATIVE = [0.3, 0.45, 0.57, 0.67, 0.77, 0.87, 0.94, 1];
const GENDER_CUMULATIVE = [0.49, 0.97, 1];
const UNKNOWN_AGE_SHARE = 0.06;

/** The properties of a user that do not change. */
export interface Profile {
  /** Years. The simulation uses it even when `ageKnown` is false. */
  readonly age: number;
  /** Whether the dataset has the age. */
  readonly ageKnown: boolean;
  /** Row of GENDERS. */
  readonly gender: number;
  /** Row of COUNTRIES. */
  readonly country: number;
  /** [TASTE_WIDTH]. */
  readonly taste: Float64Array;
  /** Long-term interests: distinct leaves. */
  readonly interests: readonly number[];
  /** Weight of each interest; they sum to 1. */
  readonly interestWeights: readonly number[];
}

/** Draws the profiles of one world. Gender, age and country change the demand for each leaf. */
export class ProfileGenerator {
  readonly #baseDemand: Float64Array;
  readonly #genderTilts: Float64Array;
  readonly #ageTilts: Float64Array;
  readonly #countryTilts: Float64Array;

  constructor({ seed, leafRanks }: Catalogue) {
    this.#baseDemand = Float64Array.from(leafRanks, (rank) =>
      Math.pow(rank + 1, -law.INTEREST_EXPONENT),
    );
    const stream = new RandomStream(seed, DOMAIN.world, 3);
    const tilts = (count: number): Float64Array =>
      Float64Array.from({ length: count }, () => law.DEMOGRAPHIC_SPREAD * stream.normal());
    this.#genderTilts = tilts(LEAVES.length);
    this.#ageTilts = tilts(LEAVES.length);
    this.#countryTilts = tilts(LEAVES.length * COUNTRIES.length);
  }

  /** Draws a profile from the stream of its user. */
  draw(stream: RandomStream): Profile {
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
