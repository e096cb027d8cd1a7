// Compares our server under load with a server made of well-known packages: latency quantiles at
// rising rates over HTTP and WebSocket, the highest rate that keeps the p99 limit, the time of each
// stage, the cost of swapping bundles, and the rates of both transports. The load generator is
// serve/generator.ts; it runs in a process of its own.

import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadBundle, type Bundle } from '../src/bundle/load.ts';
import { packageRoot } from '../src/package-root.ts';
import { Random } from '../src/random.ts';
import { say, type BenchOptions, type Measured, type Recorder } from './harness.ts';
import { makeServeBundle, USER_COUNT, userId, type ServeSetup } from './serve/bundle.ts';
import { freeCores, startGenerator, startServer, type Child } from './serve/child.ts';
import type { Question } from './serve/load.ts';
import { recordOutcomes } from './serve/outcomes.ts';
import { post, recallOf, trueBest, type Truth } from './serve/recall.ts';
import { measureSteady } from './serve/steady.ts';
import { compareTransports } from './serve/transports.ts';
import {
  KNEE_P99_MS,
  SERVED_P99_MS,
  sweep,
  type Served,
  type SweepPlan,
  type Target,
} from './serve/sweep.ts';

const ITEMS = [100_000, 1_000_000];
/** Just above the size at which the server uses the index instead of a scan. */
const QUICK_ITEMS = [21_000];
const SWEEP: SweepPlan = {
  rates: [25, 50, 100, 200, 400, 800, 1600, 3200, 6400, 12_800],
  rounds: 4,
  seconds: 2,
  refinements: 2,
};
const QUICK_SWEEP: SweepPlan = { rates: [50, 100], rounds: 1, seconds: 1, refinements: 0 };
const QUESTIONS = 1000;
const RECALL_QUESTIONS = 200;
/**
 * The recall that our indexes are built for. The peer has to reach this recall or the recall that
 * we measure for our server, whichever is lower.
 */
const RECALL_TARGET = 0.99;
/** The values of ef that the peer tries. */
const FIRST_EXPANSION = 100;
const LAST_EXPANSION = 6400;
const EXPANSION_STEP = 1.25;
/** Share of the served rate at which a server still has room for a bad minute. */
const STEADY_SHARE = 0.7;

const RATES: readonly { readonly of: keyof Served; readonly p99Ms: number }[] = [
  { of: 'promised', p99Ms: SERVED_P99_MS },
  { of: 'any', p99Ms: KNEE_P99_MS },
];
const RECALL = { metric: 'recall@100', unit: 'share', better: 'higher' } as const;

export async function run(recorder: Recorder, options: BenchOptions): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'tandem-bench-'));
  try {
    const { bundles, store, quick } = options;
    if (bundles !== undefined && store !== undefined)
      await measure(recorder, options, { bundles, store, names: [] });
    else
      for (const items of quick ? QUICK_ITEMS : ITEMS)
        await measure(recorder, options, await makeServeBundle(folder, items));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Measures one catalogue: starts the servers and the generator, runs the loads, stops them. */
async function measure(
  recorder: Recorder,
  options: BenchOptions,
  setup: ServeSetup,
): Promise<void> {
  const children: Child[] = [];
  try {
    const bundle = await loadBundle(setup.bundles);
    const size = `${bundle.catalogue.count.toLocaleString('en')} items`;
    const { embeddingWidth, fusion } = bundle.manifest.model;
    say(`serve: ${size}, width ${embeddingWidth}, fusion ${fusion}`);
    const cores = freeCores();
    say(
      cores === undefined
        ? 'serve: nothing is pinned (needs taskset and two cores)'
        : `serve: servers on core ${cores[0]}, load generator on core ${cores[1]}`,
    );
    const tandem = await startTandem(setup, cores?.[0]);
    children.push(tandem);
    const peer = await startPeer(setup, bundle, cores?.[0]);
    if (peer !== undefined) children.push(peer);
    const questions = questionsOf(bundle, options);
    await recordRecall(recorder, size, bundle, tandem, peer, questions.slice(0, RECALL_QUESTIONS));

    const generator = startGenerator(questions, cores?.[1]);
    children.push(generator);
    const http: Target = { name: `${size}, HTTP`, protocol: 'http', server: tandem };
    const ours: Target[] = [
      http,
      { name: `${size}, HTTP, binary answers`, protocol: 'http-binary', server: tandem },
      { name: `${size}, WebSocket`, protocol: 'ws', server: tandem },
    ];
    const theirs: Target | undefined = peer && {
      name: `${size}, ${PEER}`,
      protocol: 'http',
      server: peer,
    };
    const plan = options.quick ? QUICK_SWEEP : SWEEP;
    const targets = theirs === undefined ? ours : [...ours, theirs];
    const served = await sweep(generator, targets, plan, (rate, outcomes) => {
      const peers = theirs && outcomes.get(theirs);
      for (const target of ours) {
        const rounds = outcomes.get(target);
        if (rounds === undefined) continue;
        recordOutcomes(
          recorder,
          `${target.name}, ${rate} requests/s`,
          rounds,
          peers && [PEER, peers],
        );
      }
    });
    for (const target of ours)
      for (const { of, p99Ms } of RATES)
        recorder.add(
          target.name,
          { metric: `highest rate tried with p99 <= ${p99Ms} ms`, unit: '1/s', better: 'higher' },
          exactly(served.get(target)![of]),
          theirs && { name: PEER, measured: exactly(served.get(theirs)![of]) },
        );

    // A quick run goes on at the lowest rate even where the machine is too busy to serve any rate
    // in time.
    const knee = Math.max(served.get(http)!.promised, options.quick ? plan.rates[0]! : 0);
    const rate = Math.round(STEADY_SHARE * knee);
    if (rate === 0) say(`serve: ${size}: no rate was served, nothing to swap bundles at`);
    else await measureSteady(recorder, options, setup, { ...http, rate }, generator);
    await compareTransports(recorder, size, options, generator, (...flags) =>
      startTandem(setup, cores?.[0], ...flags),
    );
  } finally {
    for (const child of children) await child.stop();
  }
}

const PEER = 'fastify, onnxruntime-node, hnswlib-node, HTTP';

function startTandem(
  { bundles, store }: ServeSetup,
  core: number | undefined,
  ...more: string[]
): Promise<Child> {
  const main = join(packageRoot(), 'dist', 'cli', 'main.js');
  if (!existsSync(main))
    throw new RangeError(`Expected the built command at dist/cli/main.js. Run "npm run build".`);
  const flags = ['--bundles', bundles, '--store', store, '--port', '0', ...more];
  return startServer([main, 'serve', ...flags, '--bundle-poll-seconds', '0.05'], core);
}

/** @returns undefined, with a message, where its packages are not installed. */
async function startPeer(
  { bundles, store }: ServeSetup,
  { manifest }: Bundle,
  core: number | undefined,
): Promise<Child | undefined> {
  const installed = join(packageRoot(), 'bench', 'peers', 'node_modules', 'fastify');
  if (!existsSync(installed)) {
    say('serve: the peer is left out; "npm run bench:peers" installs it');
    return undefined;
  }
  const cache = join(packageRoot(), 'bench', 'cache');
  mkdirSync(cache, { recursive: true });
  const graph = join(cache, `serve-${manifest.indexId.slice(0, 16)}.hnswlib`);
  if (!existsSync(graph)) say("serve: building the peer's graph, on one thread");
  const file = join(import.meta.dirname, 'serve', 'stack-server.ts');
  return startServer(['--import', 'tsx', file, bundles, store, graph], core);
}

/**
 * Records the recall of both servers; the peer's searches are widened until it finds as much as
 * ours.
 */
async function recordRecall(
  recorder: Recorder,
  size: string,
  bundle: Bundle,
  tandem: Child,
  peer: Child | undefined,
  questions: readonly Question[],
): Promise<void> {
  const truth = await trueBest(tandem.port, bundle, questions);
  const ours = await recallOf(tandem.port, questions, truth);
  const theirs =
    peer && (await raisePeer(peer.port, questions, truth, Math.min(ours, RECALL_TARGET)));
  recorder.add(
    size,
    RECALL,
    exactly(ours),
    theirs === undefined ? undefined : { name: PEER, measured: exactly(theirs) },
  );
}

/** @returns the peer's recall, at least `target`. */
async function raisePeer(
  port: number,
  questions: readonly Question[],
  truth: Truth,
  target: number,
): Promise<number> {
  for (let expansion = FIRST_EXPANSION; ; expansion = Math.ceil(expansion * EXPANSION_STEP)) {
    await post(port, '/expansion', { expansion }, 'PUT');
    const recall = await recallOf(port, questions, truth);
    if (recall >= target) {
      say(`serve: the peer finds as much with ef ${expansion}`);
      return recall;
    }
    if (expansion > LAST_EXPANSION)
      throw new Error(
        `Expected the peer to reach recall ${target.toFixed(4)}, ` +
          `received ${recall.toFixed(4)} with ef ${expansion}.`,
      );
  }
}

function exactly(value: number): Measured {
  return { value, spread: 0 };
}

/** Makes different requests of known users: three in four look at an item, one in four searches. */
function questionsOf({ catalogue, goldens }: Bundle, { bundles }: BenchOptions): Question[] {
  const random = new Random(5);
  const users =
    bundles === undefined
      ? Array.from({ length: USER_COUNT }, (_, i) => userId(i))
      : goldens.map(({ user }) => user);
  return Array.from({ length: QUESTIONS }, (_, i) => {
    const user = users[random.integer(users.length)]!;
    if (i % 4 === 3)
      return { user, surface: 'search', subject: { query: `red shoes ${random.integer(1000)}` } };
    const item = catalogue.id(random.integer(catalogue.count));
    return { user, surface: 'related', subject: { item } };
  });
}
