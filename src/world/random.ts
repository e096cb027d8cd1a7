// Counter-based randomness of the synthetic world: every user, item and advertiser has a stream of its own,
// addressed by (seed, domain, index), so that no draw depends on how many others were made.

/** What a stream is for; the same index in two domains gives unrelated streams. */
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

/** murmur3's finaliser: every input bit reaches every output bit. */
function mix(word: number): number {
  word = Math.imul(word ^ (word >>> 16), 0x85ebca6b);
  word = Math.imul(word ^ (word >>> 13), 0xc2b2ae35);
  return (word ^ (word >>> 16)) >>> 0;
}

/** One uniform in (0, 1) at an address, for draws that are too many for a stream each. */
export function uniformAt(seed: number, domain: number, index: number, subIndex: number): number {
  let key = mix((seed ^ 0x9e3779b9) >>> 0);
  key = mix((key + Math.imul(domain, 0x85ebca77)) >>> 0);
  key = mix((key ^ mix((index + 0x27d4eb2f) >>> 0)) >>> 0);
  return (mix((key + Math.imul(subIndex, 0x9e3779b1)) >>> 0) + 0.5) / 4294967296;
}

/**
 * xoshiro128**, restarted at any address in O(1). Not for secrets.
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

  /** Moves to the start of the stream at an address; all four are integers >= 0, below 2^32. */
  restart(seed: number, domain: number, index: number, subIndex = 0): void {
    let key = mix((seed ^ 0x9e3779b9) >>> 0);
    key = mix((key + Math.imul(domain, 0x85ebca77)) >>> 0);
    // Two words per coordinate: a 32-bit chain alone would collide for a share of ten million items.
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

  /** Uniform in (0, 1): both ends are excluded, so that its logarithm is finite. */
  uniform(): number {
    return (this.uint32() + 0.5) / 4294967296;
  }

  /** Uniform integer in [0, bound). The bias is below bound / 2^32. */
  below(bound: number): number {
    return Math.floor(this.uniform() * bound);
  }

  chance(probability: number): boolean {
    return this.uniform() < probability;
  }

  /** Standard normal (Box-Muller, in pairs). */
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

  /** A row of a cumulative table, by its weights; the last entry is the total. */
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
