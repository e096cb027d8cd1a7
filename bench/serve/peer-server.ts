// The peer of `tandem serve`, as one writes it first: node:http, head and exact scan as plain loops, one request at a time.
// Bundle, store and features are read with the package's own code, so that both servers answer the same question.
//
// Usage: peer-server.ts <bundles> <store>; writes {"port": n} to standard error when it answers.

import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { loadBundle, type Bundle } from '../../src/bundle/load.ts';
import { ContextFeatures, NO_SUBJECT, type SubjectBag } from '../../src/features/context.ts';
import { HeadBatchBuilder } from '../../src/features/head-batch.ts';
import { stateAge } from '../../src/features/sequence.ts';
import type { EncoderId, UserId } from '../../src/ids.ts';
import { LmdbStore } from '../../src/store/lmdb-store.ts';
import { newStateBatch } from '../../src/store/store.ts';
import { PlainHead } from '../plain/head.ts';
import { plainScan } from '../plain/scan.ts';

interface Request {
  readonly user: string;
  readonly subject?: { readonly item?: string; readonly query?: string };
  readonly k: number;
}

const [bundles, directory] = process.argv.slice(2);
const bundle = await loadBundle(bundles!);
const store = LmdbStore.open(directory!, { readOnly: true });
const { manifest, catalogue, vectors, schema } = bundle;
const width = manifest.model.embeddingWidth;
const features = new ContextFeatures(schema);
const head = new PlainHead(bundle.headWeights);
const states = newStateBatch(1, width);
const builder = new HeadBatchBuilder(width, 1);
const embedding = new Float32Array(width);

const server = createServer((request, response) => {
  text(request).then(
    (body) => {
      const answer = JSON.stringify(candidates(JSON.parse(body) as Request));
      response.writeHead(200, {
        'content-type': 'application/json',
        'content-length': Buffer.byteLength(answer),
      });
      response.end(answer);
    },
    () => response.destroy(),
  );
});
server.listen(0, '127.0.0.1', () => {
  const { port } = server.address() as AddressInfo;
  process.stderr.write(`${JSON.stringify({ port })}\n`);
});

function candidates({ user, subject, k }: Request): object {
  store.read(manifest.encoderId as EncoderId, [user as UserId], states);
  builder.clear();
  builder.add(
    states.lengths[0] === 1 ? states.states : undefined,
    stateAge(states.lastEventSeconds[0]!, Date.now() / 1000),
    subjectBag(bundle, subject),
    [0, 0, 0],
  );
  head.embed(builder.batch(), embedding);
  // One more, because the subject itself is no candidate.
  const { slots, scores } = plainScan(vectors, embedding, k + 1);
  const itself = subject?.item === undefined ? -1 : catalogue.row(subject.item);
  const found = Array.from(slots, (slot, i) => ({ slot, score: scores[i]! }))
    .filter(({ slot }) => slot !== itself)
    .slice(0, k)
    .map(({ slot, score }) => ({
      item: catalogue.id(slot),
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
