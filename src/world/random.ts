// Counter-based randomness of the synthetic world: every user, item and advertiser has a stream of
// its own at the address (seed, domain, index). So no draw depends on the number of other draws.

/** The purpose of a stream. The same index in two domains gives unrelated streams. */
export const DOMAIN = {
  world: 1,
  advertiser: 2,
  item: 3,
  user: 4,
  session: 5,
  auction: 6,
  prediction: 7,
  pacing: 8,
  sample: 9,
} as const;

/** The finaliser of murmur3, in which every input bit affects every output bit. */
function mix(word: number): number {
  word = Math.imul(word ^ (word >>> 16), 0x85ebca6b);
  word = Math.imul(word ^ (word >>> 13), 0xc2b2ae35);
  return (word ^ (word >>> 16)) >>> 0;
}

/** One uniform in (0, 1) at an address, for draws too numerous to have a stream each. */
export function uniformAt(seed: number, domain: number, index: number, subIndex: number): number {
  let key = mix((seed ^ 0x9e3779b9) >>> 0);
  key = mix((key + Math.imul(domain, 0x85ebca77)) >>> 0);
  key = mix((key ^ mix((index + 0x27d4eb2f) >>> 0)) >>> 0);
  return (mix((key + Math.imul(subIndex, 0x9e3779b1)) >>> 0) + 0.5) / 4294967296;
}

/**
 * xoshiro128**, which can restart at any address in O(1). Not for secrets.
 *
 * @see Blackman and Vigna, Scrambled Linear Pseudorandom Number Generators, 2018.
 */
export class RandomStream {
  #a = 0;
  #b = 0;
  #c = 0;
  #d = 1;
  #spareNormal = Number.NaN;

  constructor(seed: number, domain: number, index: number, subIndex = 0) {
    this.restart(seed, domain, index, subIndex);
  }

  /** Moves to the start of the stream at an address of four integers in [0, 2^32). */
  restart(seed: number, domain: number, index: number, subIndex = 0): void {
    let key = mix((seed ^ 0x9e3779b9) >>> 0);
    key = mix((key + Math.imul(domain, 0x85ebca77)) >>> 0);
    // Two words per coordinate: with one, some of ten million items would share a stream.
    const low = mix(key ^ mix((index + 0x27d4eb2f) >>> 0));
    const high = mix((Math.imul(index, 0x9e3779b1) ^ Math.imul(key, 0xc2b2ae3d)) >>> 0);
    this.#a = mix(low ^ mix((subIndex + 0x165667b1) >>> 0));
    this.#b = mix((high + Math.imul(subIndex, 0x9e3779b1)) >>> 0);
    this.#c = low;
    this.#d = high | 1;
    this.#spareNormal = Number.NaN;
    for (let i = 0; i < 4; i++) this.uint32();
  }

  uint32(): number {
    const product = Math.imul(this.#b, 5);
    const result = Math.imul((product << 7) | (product >>> 25), 9) >>> 0;
    const shifted = this.#b << 9;
    this.#c ^= this.#a;
    this.#d ^= this.#b;
    this.#b ^= this.#c;
    this.#a ^= this.#d;
    this.#c ^= shifted;
    this.#d = (this.#d << 11) | (this.#d >>> 21);
    return result;
  }

  /** Uniform in (0, 1). Both ends are excluded, so that its logarithm is finite. */
  uniform(): number {
    return (this.uint32() + 0.5) / 4294967296;
  }

  /** Uniform integer in [0, bound). The bias is below bound / 2^32. */
  below(bound: number): number {
    return Math.floor(this.uniform() * bound);
  }

  /** True with the given probability. */
  chance(probability: number): boolean {
    return this.uniform() < probability;
  }

  /** Standard normal, by Box-Muller in pairs. */
  normal(): number {
    if (!Number.isNaN(this.#spareNormal)) {
      const spare = this.#spareNormal;
      this.#spareNormal = Number.NaN;
      return spare;
    }
    const radius = Math.sqrt(-2 * Math.log(this.uniform()));
    const angle = 2 * Math.PI * this.uniform();
    this.#spareNormal = radius * Math.sin(angle);
    return radius * Math.cos(angle);
  }

  /**
   * Draws a row of a table by its weights. `cumulative` holds their running sums, the total last.
   */
  pick(cumulative: ArrayLike<number>, length: number = cumulative.length): number {
    const target = this.uniform() * cumulative[length - 1]!;
    let low = 0;
    let high = length - 1;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (cumulative[middle]! > target) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}

/** Running sums of weights, as RandomStream.pick() needs them. */
export function runningSum(weights: ArrayLike<number>): Float64Array {
  const sums = new Float64Array(weights.length);
  let sum = 0;
  for (let i = 0; i < weights.length; i++) sums[i] = sum += weights[i]!;
  return sums;
}
