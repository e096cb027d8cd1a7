// The process that engine.ts starts for contestants with a JavaScript interface: our indexes, the
// binding of usearch, hnswlib-node. It reads requests and writes answers as JSON lines and has the
// same operations as bench/peers/faiss_peer.py.

import { createInterface } from 'node:readline';
import { writeFileSynced } from '../../src/files.ts';
import { DATA_FILES, readFloats, readIntegers, type Split } from './data-set.ts';
import { buildIndex, type BuildParameters, type OpenData, type SearchIndex } from './indexes.ts';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { BuildReport } from './engine.ts';

interface Request {
  readonly index: string;
  readonly effort: number;
  readonly allow?: string;
}

let data: OpenData | undefined;
const indexes = new Map<string, SearchIndex>();
const queriesOf = new Map<Split, Float32Array>();
let nextBlock = 0;

function opened(): OpenData {
  if (data === undefined) throw new Error('Expected "open" before any other operation.');
  return data;
}

function queries(split: Split): Float32Array {
  let rows = queriesOf.get(split);
  if (rows === undefined)
    queriesOf.set(split, (rows = readFloats(opened().folder, DATA_FILES.queries(split))));
  return rows;
}

function allowWords(file: string | undefined): Uint32Array | null {
  return file === undefined ? null : new Uint32Array(readIntegers(opened().folder, file).buffer);
}

function searched({ index, effort, allow }: Request): SearchIndex {
  const found = indexes.get(index);
  if (found === undefined) throw new Error(`Expected "build" of ${index} before it is searched.`);
  found.prepare?.(effort, allowWords(allow));
  return found;
}

const operations = {
  open: ({ folder, width, k }: { folder: string; width: number; k: number }): object => {
    data = { folder, width, k, vectors: readFloats(folder, DATA_FILES.vectors) };
    return {};
  },

  build: async (parameters: BuildParameters): Promise<BuildReport> => {
    const { folder } = opened();
    const { index, connectivity, expansionAdd, threads } = parameters;
    const base = join(folder, `${index}-${connectivity}-${expansionAdd}`);
    const files = { index: `${base}.index`, about: `${base}.json` };
    const startMs = performance.now();
    const about = existsSync(files.about)
      ? (JSON.parse(readFileSync(files.about, 'utf8')) as BuildReport)
      : undefined;
    const made = await buildIndex(opened(), parameters, files.index);
    indexes.set(index, made);
    if (about !== undefined) return about;
    const seconds = made.buildSeconds ?? (performance.now() - startMs) / 1000;
    const built = { seconds, threads, bytesPerItem: made.bytesPerItem };
    writeFileSynced(files.about, JSON.stringify(built));
    return built;
  },

  recall: async (request: Request & { split: Split }): Promise<object> => {
    const { folder, width, k } = opened();
    const vectors = queries(request.split);
    const truth = readIntegers(folder, DATA_FILES.truth(request.split));
    const index = searched(request);
    let hits = 0;
    for (let at = 0; at < vectors.length / width; at++) {
      const { rows } = await index.search(vectors.subarray(at * width, (at + 1) * width), 1);
      const found = new Set<number>();
      for (let i = 0; i < k; i++) found.add(Number(rows[i]));
      for (let i = at * k; i < (at + 1) * k; i++) if (found.has(truth[i]!)) hits++;
    }
    return { recall: hits / truth.length };
  },

  filtered: async (request: Request & { truth: string; count: number }): Promise<object> => {
    const { folder, width, k } = opened();
    const truth = readIntegers(folder, request.truth);
    const index = searched(request);
    const rows = queries('test');
    let hits = 0;
    let wanted = 0;
    let fewest = k;
    let plan: string | undefined;
    for (let at = 0; at < request.count; at++) {
      const result = await index.search(rows.subarray(at * width, (at + 1) * width), 1);
      plan = result.plan;
      const found = new Set<number>();
      for (let i = 0; i < k; i++)
        if (Number(result.rows[i] ?? -1) >= 0) found.add(Number(result.rows[i]));
      fewest = Math.min(fewest, found.size);
      for (let i = at * k; i < (at + 1) * k; i++)
        if (truth[i]! >= 0) {
          wanted++;
          if (found.has(truth[i]!)) hits++;
        }
    }
    return { recall: hits / wanted, returned: fewest, plan };
  },

  measure: async (request: Request & { batch: number; seconds: number }): Promise<object> => {
    const { width } = opened();
    const { batch, seconds } = request;
    const index = searched(request);
    const rows = queries('test');
    const size = batch * width;
    const blocks = Array.from({ length: Math.floor(rows.length / size) }, (_, i) =>
      index.accept(rows.subarray(i * size, (i + 1) * size), batch),
    );
    await index.run(blocks[0], batch);
    let calls = 0;
    const startMs = performance.now();
    for (;;) {
      // A library that answers synchronously must not pay for an await.
      const found = index.run(blocks[nextBlock++ % blocks.length], batch);
      if (found instanceof Promise) await found;
      calls++;
      const elapsedMs = performance.now() - startMs;
      if (elapsedMs >= seconds * 1000) return { secondsPerQuery: elapsedMs / 1000 / calls / batch };
    }
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const { operation, ...request } = JSON.parse(line) as { operation: keyof typeof operations };
  let answer: object;
  try {
    const call = operations[operation] as (parameters: object) => object | Promise<object>;
    answer = await call(request);
  } catch (error) {
    answer = { error: error instanceof Error ? error.message : String(error) };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
