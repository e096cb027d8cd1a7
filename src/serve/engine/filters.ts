// Compiles the filter of a request into the set of items that pass. Each distinct filter is
// compiled once per bundle. exclude_items and advertisers.max_each are not part of that set: the
// first differs by user, and the second depends on the ranking. For these two, retrieval searches
// for more candidates and drops those that the filter rules out.

import { LRUCache } from 'lru-cache';
import type { ItemCatalogue, Ragged } from '../../bundle/catalogue.ts';
import { canonicalJson } from '../../json.ts';
import { AllowList } from '../../retrieval/allow-list.ts';
import type { Filter } from '../request/request-types.ts';

/** One bit an item: 256 filters of a catalogue of a million items take 32 MB. */
export const CACHED_FILTERS = 256;

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
  readonly #cache = new LRUCache<string, CompiledFilter>({ max: CACHED_FILTERS });

  /** @param categoryNames - names of the category rows that the catalogue refers to. */
  constructor(catalogue: ItemCatalogue, categoryNames: readonly string[]) {
    this.#catalogue = catalogue;
    this.#categoryNames = categoryNames;
  }

  /**
   * The items that pass every clause. Equal filters give the same object.
   *
   * A name that the catalogue does not know matches no item and is no error, so a client may
   * already filter on an advertiser of tomorrow's bundle. The first use of a filter reads columns
   * of the whole catalogue; later uses are one look-up.
   *
   * @returns undefined when no clause restricts anything.
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
    const key = canonicalJson(clauses);
    let compiled = this.#cache.get(key);
    if (compiled === undefined) {
      compiled = this.#compileClauses(clauses);
      this.#cache.set(key, compiled);
    }
    return compiled;
  }

  #compileClauses(clauses: Filter): CompiledFilter {
    const tests = this.#tests(clauses);
    const { count } = this.#catalogue;
    const allow = AllowList.none(count);
    for (let row = 0; row < count; row++) if (tests.every((test) => test(row))) allow.set(row);
    return { allow, selectivity: allow.count / count };
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
    // An unknown price is NaN, which passes neither comparison.
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

/** @returns [known.length] flags, 1 where the name is among `chosen`. */
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
