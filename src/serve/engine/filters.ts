// Filters: from the filter of a request to the set of items that pass, made once per distinct filter and bundle.
// exclude_items and advertisers.max_each are no part of that set: the one differs by user, the other depends on the
// ranking, so the pipeline fetches more and drops what they rule out.

import type { ItemCatalogue, Ragged } from '../../bundle/catalogue.ts';
import { canonicalJson } from '../../json.ts';
import { AllowList } from '../../retrieval/allow-list.ts';
import { LruCache } from './lru-cache.ts';
import type { Filter } from '../request/request-types.ts';

/** At one bit an item, 256 filters of a catalogue of a million items hold 32 MB. */
const CACHED_FILTERS = 256;

export interface CompiledFilter {
  readonly allow: AllowList;
  /** Share of the catalogue that passes. */
  readonly selectivity: number;
}

type Test = (row: number) => boolean;

/** Compiles the filters of requests against one catalogue. */
export class FilterCompiler {
  readonly #catalogue: ItemCatalogue;
  readonly #categoryNames: readonly string[];
  readonly #cache = new LruCache<CompiledFilter>(CACHED_FILTERS);

  /** @param categoryNames - what the catalogue's category rows stand for. */
  constructor(catalogue: ItemCatalogue, categoryNames: readonly string[]) {
    this.#catalogue = catalogue;
    this.#categoryNames = categoryNames;
  }

  /**
   * The items that pass every clause; undefined when no clause restricts anything. Equal filters give the same object.
   *
   * Names that the catalogue does not know match nothing: a filter on an advertiser of tomorrow's bundle is no error.
   * The first use of a filter reads columns of the whole catalogue, later uses look a key up.
   */
  compile(filter: Filter | undefined): CompiledFilter | undefined {
    if (filter === undefined) return undefined;
    const { advertisers } = filter;
    const clauses: Filter = {
      ...filter,
      exclude_items: undefined,
      advertisers: advertisers && { in: advertisers.in, out: advertisers.out },
    };
    if (!restricts(clauses)) return undefined;
    return this.#cache.getOrMake(canonicalJson(clauses), () => {
      const tests = this.#tests(clauses);
      const { count } = this.#catalogue;
      const allow = AllowList.none(count);
      for (let row = 0; row < count; row++) if (tests.every((test) => test(row))) allow.set(row);
      return { allow, selectivity: allow.count / count };
    });
  }

  #tests(clauses: Filter): Test[] {
    const { advertiserNames, advertiserRows, prices, countryNames, countries, categories } =
      this.#catalogue;
    const { min_price: minPrice, max_price: maxPrice } = clauses;
    const tests: Test[] = [];
    if (clauses.countries !== undefined) {
      const wanted = flags(countryNames, clauses.countries);
      tests.push((row) => raggedLength(countries, row) === 0 || hasAny(countries, row, wanted));
    }
    if (clauses.advertisers?.in !== undefined) {
      const wanted = flags(advertiserNames, clauses.advertisers.in);
      tests.push((row) => wanted[advertiserRows[row]!] === 1);
    }
    if (clauses.advertisers?.out !== undefined) {
      const unwanted = flags(advertiserNames, clauses.advertisers.out);
      tests.push((row) => unwanted[advertiserRows[row]!] !== 1);
    }
    if (clauses.categories?.any !== undefined) {
      const wanted = flags(this.#categoryNames, clauses.categories.any);
      tests.push((row) => hasAny(categories, row, wanted));
    }
    if (clauses.categories?.none !== undefined) {
      const unwanted = flags(this.#categoryNames, clauses.categories.none);
      tests.push((row) => !hasAny(categories, row, unwanted));
    }
    // A price that is not known is NaN, which passes neither comparison.
    if (minPrice !== undefined) tests.push((row) => prices[row]! >= minPrice);
    if (maxPrice !== undefined) tests.push((row) => prices[row]! <= maxPrice);
    return tests;
  }
}

function restricts(clauses: Filter): boolean {
  const { countries, advertisers, categories, min_price: minPrice, max_price: maxPrice } = clauses;
  return [
    countries,
    advertisers?.in,
    advertisers?.out,
    categories?.any,
    categories?.none,
    minPrice,
    maxPrice,
  ].some((clause) => clause !== undefined);
}

/** [known.length], 1 where the name is among `chosen`. */
function flags(known: readonly string[], chosen: readonly string[]): Uint8Array {
  const set = new Set(chosen);
  return Uint8Array.from(known, (name) => (set.has(name) ? 1 : 0));
}

function raggedLength({ offsets }: Ragged, row: number): number {
  return offsets[row + 1]! - offsets[row]!;
}

function hasAny({ offsets, values }: Ragged, row: number, wanted: Uint8Array): boolean {
  const end = offsets[row + 1]!;
  for (let i = offsets[row]!; i < end; i++) if (wanted[values[i]!] === 1) return true;
  return false;
}
