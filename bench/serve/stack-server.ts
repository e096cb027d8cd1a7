// The peer of `tandem serve`: a server made of well-known packages, with fastify, the head in
// onnxruntime-node, and the items in hnswlib-node. It reads bundle, store and features with our
// code, so that both servers answer the same question.
//
// Usage: stack-server.ts <bundles> <store> <graph file>. It builds the graph file where it is
// missing. It writes {"port": n} to standard error when it is ready. PUT /expansion {"expansion":
// n} sets ef, the width of its searches.

import { createRequire } from 'node:module';
import type { AddressInfo } from 'node:net';
import type { Server } from 'node:http';
import { loadBundle, type Bundle } from '../../src/bundle/load.ts';
import { ContextFeatures, NO_SUBJECT, type SubjectBag } from '../../src/features/context.ts';
import { HeadBatchBuilder } from '../../src/features/head-batch.ts';
import { stateAge } from '../../src/features/sequence.ts';
import type { EncoderId, UserId } from '../../src/ids.ts';
import { LmdbStore } from '../../src/store/lmdb-store.ts';
import { newStateBatch } from '../../src/store/state-batch.ts';
import { openOnnxServing } from '../onnx-head.ts';
import { loadHnswlib } from '../retrieval/indexes.ts';

interface Request {
  readonly user: string;
  readonly subject?: { readonly item?: string; readonly query?: string };
  readonly k: number;
}

/** The part of fastify that is used. */
type Fastify = () => {
  readonly server: Server;
  post(path: string, handler: (request: { readonly body: unknown }) => Promise<object>): void;
  put(path: string, handler: (request: { readonly body: unknown }) => Promise<object>): void;
  listen(options: { readonly host: string; readonly port: number }): Promise<string>;
};

const GRAPH = { connectivity: 16, expansionAdd: 128 };

const [bundles, directory, file] = process.argv.slice(2);
const bundle = await loadBundle(bundles!);
const store = LmdbStore.open(directory!, { readOnly: true });
const { manifest, catalogue, vectors, schema } = bundle;
const width = manifest.model.embeddingWidth;
const features = new ContextFeatures(schema);
const embed = (await openOnnxServing(bundle.headWeights))!;
const { index } = loadHnswlib({ vectors, width }, GRAPH, file!);

const require = createRequire(new URL('../peers/package.json', import.meta.url));
const app = (require('fastify') as Fastify)();
app.post('/v1/candidates', ({ body }) => candidates(body as Request));
app.put('/expansion', ({ body }) => {
  const { expansion } = body as { readonly expansion: number };
  index.setEf(expansion);
  return Promise.resolve({ expansion });
});
await app.listen({ host: '127.0.0.1', port: 0 });
const { port } = app.server.address() as AddressInfo;
process.stderr.write(`${JSON.stringify({ port })}\n`);

async function candidates({ user, subject, k }: Request): Promise<object> {
  const states = newStateBatch(1, width);
  store.read(manifest.encoderId as EncoderId, [user as UserId], states);
  const builder = new HeadBatchBuilder(width, 1);
  builder.add(
    states.lengths[0] === 1 ? states.states : undefined,
    stateAge(states.lastEventSeconds[0]!, Date.now() / 1000),
    subjectBag(bundle, subject),
    [0, 0, 0],
  );
  const embedding = await embed(builder.batch());
  // One more than k, because the subject is never a candidate.
  const { neighbors, distances } = index.searchKnn(Array.from(embedding), k + 1);
  const itself = subject?.item === undefined ? -1 : catalogue.row(subject.item);
  const found = neighbors
    .map((row, i) => ({ row, score: 1 - distances[i]! }))
    .filter(({ row }) => row !== itself)
    // The hits come worst first.
    .reverse()
    .slice(0, k)
    .map(({ row, score }) => ({
      item: catalogue.id(row),
      score: Math.round(score * 1e6) / 1e6,
    }));
  return { bundle_id: manifest.bundleId, candidates: found };
}

function subjectBag({ headWeights }: Bundle, subject: Request['subject']): SubjectBag {
  if (headWeights.context === undefined || subject === undefined) return NO_SUBJECT;
  if (subject.query !== undefined) return features.queryBag(subject.query);
  const row = catalogue.row(subject.item!);
  return features.categoryBag(catalogue.categoryRows(row), catalogue.confidences(row));
}
