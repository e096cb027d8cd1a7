// The indexes of engine-process.ts behind one interface: ours, the JavaScript binding of usearch,
// and hnswlib-node.

import { existsSync, readFileSync, renameSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { writeFileAtomic } from '../../src/files.ts';
import { nativeAddon } from '../../src/native/addon.ts';
import type { NativeClusterIndex } from '../../src/native/cluster-index.ts';
import type { NativeHnswIndex } from '../../src/native/hnsw-index.ts';
import type { SearchOutput } from '../../src/native/search-output.ts';
import { AllowList } from '../../src/retrieval/allow-list.ts';
import { newSearchOutput } from '../../src/retrieval/search-plan.ts';
import { PlannedIndex } from '../../src/retrieval/planned-index.ts';
import { clusterIndex } from '../../src/retrieval/approximate-index.ts';
import { DATA_FILES, readFloats } from './data-set.ts';

const RECALL_TARGET = 0.99;

export interface OpenData {
  readonly folder: string;
  readonly width: number;
  readonly k: number;
  readonly vectors: Float32Array;
}

export interface BuildParameters {
  readonly index: string;
  readonly threads: number;
  readonly connectivity: number;
  readonly expansionAdd: number;
}

export interface Found {
  /** [count, k], row-major; -1 or nothing after the last hit. */
  readonly rows: ArrayLike<number | bigint>;
  /** What our search plan chose. */
  readonly plan?: string | undefined;
}

export interface SearchIndex {
  readonly bytesPerItem: number;
  /** Set where making the index included more than building it. */
  readonly buildSeconds?: number;
  /** Sets effort and filter before searches; not timed. */
  prepare?(effort: number, allow: Uint32Array | null): void;
  /** Converts a block of queries into the form that the library takes; not timed. */
  accept(queries: Float32Array, count: number): unknown;
  /** The call that is timed, until its result is ready. */
  run(accepted: unknown, count: number): unknown;
  /** Accepts and runs a block; the result has the same form for every library. */
  search(queries: Float32Array, count: number): Found | Promise<Found>;
}

/**
 * Loads the index from `file`, or builds it and writes it to that file.
 *
 * @throws Error with the reason when this machine cannot build the index.
 */
export async function buildIndex(
  data: OpenData,
  parameters: BuildParameters,
  file: string,
): Promise<SearchIndex> {
  switch (parameters.index) {
    case 'exact':
      return new NativeIndex(data, vectorBytes(data), exactSearch(data, false));
    case 'codes':
      return new NativeIndex(data, vectorBytes(data) + data.width, exactSearch(data, true));
    case 'hnsw':
      return openHnsw(data, parameters, file);
    case 'clusters':
      return openOurClusters(data, file);
    case 'planned':
      return openPlanned(data, file);
    case 'usearch':
      return openUsearch(data, parameters, file);
    case 'hnswlib':
      return openHnswlib(data, parameters, file);
    default:
      throw new Error(`Expected an index of this process, received "${parameters.index}".`);
  }
}

type NativeSearch = (
  queries: Float32Array,
  count: number,
  effort: number,
  allow: Uint32Array | null,
  out: SearchOutput,
) => string | undefined | Promise<string>;

/** Any index of ours. Results are written into arrays that are allocated once. */
class NativeIndex implements SearchIndex {
  readonly bytesPerItem: number;
  readonly buildSeconds?: number;
  readonly #k: number;
  readonly #search: NativeSearch;
  #effort = 0;
  #allow: Uint32Array | null = null;
  #out: SearchOutput;
  #room = 0;

  constructor(data: OpenData, bytesPerItem: number, search: NativeSearch, buildSeconds?: number) {
    this.bytesPerItem = bytesPerItem;
    if (buildSeconds !== undefined) this.buildSeconds = buildSeconds;
    this.#k = data.k;
    this.#search = search;
    this.#out = newSearchOutput(0, data.k);
  }

  prepare(effort: number, allow: Uint32Array | null): void {
    this.#effort = effort;
    this.#allow = allow;
  }

  accept(queries: Float32Array, count: number): Float32Array {
    if (this.#room < count) {
      this.#out = newSearchOutput(count, this.#k);
      this.#room = count;
    }
    return queries;
  }

  run(queries: unknown, count: number): string | undefined | Promise<string> {
    return this.#search(queries as Float32Array, count, this.#effort, this.#allow, this.#out);
  }

  async search(queries: Float32Array, count: number): Promise<Found> {
    const plan = await this.run(this.accept(queries, count), count);
    return { rows: this.#out.rows, plan };
  }
}

/** Bytes of an item's f32 vector, to which our indexes refer. */
function vectorBytes({ width }: OpenData): number {
  return width * Float32Array.BYTES_PER_ELEMENT;
}

function exactSearch(data: OpenData, coded: boolean): NativeSearch {
  const exact = new (nativeAddon().ExactIndex)(data.vectors, data.width);
  if (coded) exact.addCodes();
  return (queries, count, _effort, allow, out) => {
    exact.search(queries, count, data.k, allow, out);
    return undefined;
  };
}

async function openHnsw(
  data: OpenData,
  parameters: BuildParameters,
  file: string,
): Promise<SearchIndex> {
  const { index, bytesPerItem, seconds } = await hnswOf(data, parameters, file);
  return new NativeIndex(
    data,
    bytesPerItem,
    (queries, count, effort, allow, out) => {
      index.search(queries, count, data.k, effort, allow, out);
      return undefined;
    },
    seconds,
  );
}

async function hnswOf(
  { vectors, width }: OpenData,
  { connectivity, expansionAdd, threads }: BuildParameters,
  file: string,
): Promise<{ index: NativeHnswIndex; bytesPerItem: number; seconds: number }> {
  const { HnswIndex } = nativeAddon();
  const startMs = performance.now();
  let index: NativeHnswIndex;
  if (existsSync(file)) index = await HnswIndex.load(readFileSync(file), width);
  else index = await HnswIndex.build(vectors, width, { connectivity, expansionAdd, threads });
  const seconds = (performance.now() - startMs) / 1000;
  if (!existsSync(file)) writeFileAtomic(file, index.serialize());
  return { index, bytesPerItem: statSync(file).size / index.size, seconds };
}

async function openOurClusters(data: OpenData, file: string): Promise<SearchIndex> {
  const { index, seconds, bytesPerItem } = await clustersOf(data, file);
  return new NativeIndex(
    data,
    bytesPerItem,
    (queries, count, _effort, allow, out) => {
      index.search(queries, count, data.k, allow, 1, out);
      return undefined;
    },
    seconds,
  );
}

/** The build calibrates the index with the queries that tune the efforts of the others. */
async function clustersOf(
  data: OpenData,
  file: string,
): Promise<{ index: NativeClusterIndex; bytesPerItem: number; seconds: number }> {
  const { folder, k, vectors, width } = data;
  const { ClusterIndex } = nativeAddon();
  const startMs = performance.now();
  const index = existsSync(file)
    ? await ClusterIndex.load(readFileSync(file), vectors, width)
    : await ClusterIndex.build(vectors, width, {
        queries: readFloats(folder, DATA_FILES.queries('calibration')),
        k,
        recallTarget: RECALL_TARGET,
      });
  const seconds = (performance.now() - startMs) / 1000;
  if (!existsSync(file)) writeFileAtomic(file, index.serialize());
  const bytesPerItem = statSync(file).size / index.size + vectorBytes(data);
  return { index, bytesPerItem, seconds };
}

/** Searches as the request path does: with plan `auto`. */
async function openPlanned(data: OpenData, file: string): Promise<SearchIndex> {
  const exact = new (nativeAddon().ExactIndex)(data.vectors, data.width);
  const { index: clusters, bytesPerItem } = await clustersOf(
    data,
    file.replace('planned', 'clusters'),
  );
  const planned = new PlannedIndex({ exact, approximate: clusterIndex(clusters) });
  let list: AllowList | null = null;
  const index = new NativeIndex(
    data,
    bytesPerItem,
    async (queries, count, _e, _a, out) =>
      (await planned.search(queries, count, data.k, list, out, 'inline')).plan,
  );
  const prepare = index.prepare.bind(index);
  index.prepare = (effort, allow): void => {
    prepare(effort, allow);
    list = null;
    if (allow === null) return;
    list = AllowList.none(planned.size);
    list.words.set(allow.subarray(0, list.words.length));
    list.recount();
  };
  return index;
}

async function openUsearch(
  { vectors, width, k }: OpenData,
  { connectivity, expansionAdd, threads }: BuildParameters,
  file: string,
): Promise<SearchIndex> {
  const { Index, MetricKind, ScalarKind } = await import('usearch');
  type Usearch = InstanceType<typeof Index>;
  const empty = (expansionSearch: number): Usearch =>
    new Index({
      dimensions: width,
      metric: MetricKind.IP,
      quantization: ScalarKind.F32,
      connectivity,
      expansion_add: expansionAdd,
      expansion_search: expansionSearch,
      multi: false,
    });
  const size = vectors.length / width;
  let buildSeconds: number | undefined;
  if (!existsSync(file)) {
    const made = empty(expansionAdd);
    const keys = BigUint64Array.from({ length: size }, (_, i) => BigInt(i));
    const startMs = performance.now();
    made.add(keys, vectors, threads);
    buildSeconds = (performance.now() - startMs) / 1000;
    made.save(`${file}.part`);
    renameSync(`${file}.part`, file);
  }
  let index: Usearch | undefined;
  let expansion = 0;
  const searchThreads = Number(process.env['TANDEM_THREADS']);
  const run = (queries: unknown): { readonly keys: BigUint64Array } =>
    index!.search(queries as Float32Array, k, searchThreads);
  return {
    ...(buildSeconds !== undefined && { buildSeconds }),
    bytesPerItem: statSync(file).size / size,
    prepare: (effort): void => {
      if (index !== undefined && effort === expansion) return;
      // The binding sets the expansion in its constructor only.
      index = empty(effort);
      index.load(file);
      expansion = effort;
    },
    accept: (queries) => queries,
    run,
    search: (queries) => ({ rows: run(queries).keys }),
  };
}

/** The part of hnswlib-node that is used. */
interface Hnswlib {
  readonly HierarchicalNSW: new (
    space: 'ip',
    dimensions: number,
  ) => {
    initIndex(elements: number, connectivity: number, expansion: number): void;
    addPoint(point: number[], label: number): void;
    setEf(expansion: number): void;
    searchKnn(
      query: number[],
      k: number,
      filter?: (label: number) => boolean,
    ): { readonly neighbors: number[]; readonly distances: number[] };
    writeIndexSync(file: string): void;
    readIndexSync(file: string): void;
  };
}

/**
 * Loads the index in `file`, or builds it first: on one thread, because the binding has no more.
 */
export function loadHnswlib(
  { vectors, width }: Pick<OpenData, 'vectors' | 'width'>,
  { connectivity, expansionAdd }: Pick<BuildParameters, 'connectivity' | 'expansionAdd'>,
  file: string,
): {
  readonly index: InstanceType<Hnswlib['HierarchicalNSW']>;
  readonly buildSeconds: number | undefined;
} {
  const require = createRequire(new URL('../peers/package.json', import.meta.url));
  const { HierarchicalNSW } = require('hnswlib-node') as Hnswlib;
  const index = new HierarchicalNSW('ip', width);
  if (existsSync(file)) {
    index.readIndexSync(file);
    return { index, buildSeconds: undefined };
  }
  const size = vectors.length / width;
  index.initIndex(size, connectivity, expansionAdd);
  const startMs = performance.now();
  for (let row = 0; row < size; row++)
    index.addPoint(Array.from(vectors.subarray(row * width, (row + 1) * width)), row);
  const buildSeconds = (performance.now() - startMs) / 1000;
  index.writeIndexSync(`${file}.part`);
  renameSync(`${file}.part`, file);
  return { index, buildSeconds };
}

/** Searches one query in each call: the binding has nothing else. */
function openHnswlib(data: OpenData, parameters: BuildParameters, file: string): SearchIndex {
  const { vectors, width, k } = data;
  const { index, buildSeconds } = loadHnswlib(data, parameters, file);
  const size = vectors.length / width;
  let filter: ((label: number) => boolean) | undefined;
  const searchOne = (query: number[]): { readonly neighbors: number[] } =>
    filter === undefined ? index.searchKnn(query, k) : index.searchKnn(query, k, filter);
  const run = (queries: unknown): { readonly neighbors: number[] }[] =>
    (queries as number[][]).map(searchOne);
  const accept = (queries: Float32Array, count: number): number[][] =>
    Array.from({ length: count }, (_, i) =>
      Array.from(queries.subarray(i * width, (i + 1) * width)),
    );
  return {
    ...(buildSeconds !== undefined && { buildSeconds }),
    bytesPerItem: statSync(file).size / size,
    prepare: (effort, allow): void => {
      index.setEf(effort);
      filter =
        allow === null
          ? undefined
          : (label): boolean => ((allow[label >> 5]! >>> (label & 31)) & 1) === 1;
    },
    accept,
    run,
    // Its hits come worst first, which does not matter here: recall compares sets.
    search: (queries, count) => ({
      rows: run(accept(queries, count)).flatMap(({ neighbors }) => [
        ...neighbors,
        ...Array<number>(k - neighbors.length).fill(-1),
      ]),
    }),
  };
}
