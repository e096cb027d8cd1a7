// The server under load against a first version of one: latency quantiles at rising rates, over HTTP and WebSocket.
// What the load generator does is in serve/generator.ts, which runs in a process of its own.

import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { loadBundle, type Bundle } from '../src/bundle/load.ts';
import { packageRoot } from '../src/native/binding.ts';
import { Random } from '../src/random.ts';
import { say, summarise, type BenchOptions, type Measured, type Recorder } from './harness.ts';
import { makeServeBundle, USER_COUNT, userId } from './serve/bundle.ts';
import {
  freeCores,
  startGenerator,
  startServer,
  type Child,
  type Generator,
} from './serve/child.ts';
import { K, type LoadOutcome, type Question } from './serve/load.ts';

interface Target {
  readonly name: string;
  readonly protocol: 'http' | 'ws';
  readonly server: Child;
}

const RATES = [100, 250, 500, 1000, 2000, 4000];
const QUICK_RATES = [250];
const ROUNDS = 3;
const SECONDS = 2.5;
const WARM_UP_SECONDS = 0.5;
const ITEMS = 20_000;
const QUICK_ITEMS = 2_000;
const QUESTIONS = 1000;
/** Past the knee: later than this, or less of what was sent than that share. */
const KNEE_P99_MS = 100;
const KNEE_SHARE = 0.97;
const QUIET_MS = 200;
const CHECKED_QUESTIONS = 20;
/** Of 100 candidates: near ties, and a graph where the bundle is large, may differ. */
const LEAST_IN_COMMON = 95;

/** The promise that a rate must keep to count as served. */
const SERVED_P99_MS = 10;
const SERVED = {
  metric: `highest rate tried with p99 <= ${SERVED_P99_MS} ms`,
  unit: '1/s',
  better: 'higher',
} as const;

/** What is taken from each outcome. */
const METRICS = [
  { metric: 'p50', unit: 'ms', better: 'lower', of: (outcome: LoadOutcome) => outcome.p50Ms },
  { metric: 'p90', unit: 'ms', better: 'lower', of: (outcome: LoadOutcome) => outcome.p90Ms },
  { metric: 'p99', unit: 'ms', better: 'lower', of: (outcome: LoadOutcome) => outcome.p99Ms },
  { metric: 'p99.9', unit: 'ms', better: 'lower', of: (outcome: LoadOutcome) => outcome.p999Ms },
  {
    metric: 'achieved',
    unit: '1/s',
    better: 'higher',
    of: (outcome: LoadOutcome) => outcome.achievedRate,
  },
] as const;

export async function run(recorder: Recorder, options: BenchOptions): Promise<void> {
  const main = join(packageRoot(), 'dist', 'cli', 'main.js');
  if (!existsSync(main))
    throw new RangeError(`Expected the built command at dist/cli/main.js. Run "npm run build".`);
  const folder = mkdtempSync(join(tmpdir(), 'tandem-bench-'));
  const children: Child[] = [];
  try {
    const { bundles, store } = await chooseBundle(folder, options);
    const bundle = await loadBundle(bundles);
    say(
      `serve: ${bundle.catalogue.count} items, width ${bundle.manifest.model.embeddingWidth}, fusion ${bundle.manifest.model.fusion}`,
    );
    const cores = freeCores();
    say(
      cores === undefined
        ? 'serve: nothing is pinned (needs taskset and two cores)'
        : `serve: servers on core ${cores[0]}, load generator on core ${cores[1]}`,
    );
    const flags = ['--bundles', bundles, '--store', store, '--port', '0'];
    const tandem = await startServer([main, 'serve', ...flags], cores?.[0]);
    children.push(tandem);
    const peerFile = join(import.meta.dirname, 'serve', 'peer-server.ts');
    const peer = await startServer(['--import', 'tsx', peerFile, bundles, store], cores?.[0]);
    children.push(peer);
    const questions = questionsOf(bundle, options);
    await expectSameAnswers(tandem.port, peer.port, questions.slice(0, CHECKED_QUESTIONS));
    const generator = startGenerator(questions, cores?.[1]);
    children.push(generator);
    await measureRates(
      recorder,
      generator,
      options.quick,
      { name: 'HTTP', protocol: 'http', server: tandem },
      { name: 'WebSocket', protocol: 'ws', server: tandem },
      { name: 'node:http, plain JS', protocol: 'http', server: peer },
    );
  } finally {
    for (const child of children) await child.stop();
    rmSync(folder, { recursive: true });
  }
}

async function chooseBundle(
  folder: string,
  { quick, bundles, store }: BenchOptions,
): Promise<{ bundles: string; store: string }> {
  if (bundles !== undefined && store !== undefined) return { bundles, store };
  const items = quick ? QUICK_ITEMS : ITEMS;
  say(`serve: making a bundle of ${items} items`);
  return makeServeBundle(folder, items);
}

/** Raises the rate until nobody keeps up; rounds of the targets alternate. */
async function measureRates(
  recorder: Recorder,
  generator: Generator,
  quick: boolean,
  http: Target,
  socket: Target,
  peer: Target,
): Promise<void> {
  let running = [http, socket, peer];
  const served = new Map(running.map((target) => [target, 0]));
  for (const rate of quick ? QUICK_RATES : RATES) {
    const outcomes = new Map(running.map((target): [Target, LoadOutcome[]] => [target, []]));
    for (let round = 0; round < (quick ? 1 : ROUNDS); round++)
      for (const [target, rounds] of outcomes) {
        rounds.push(
          await generator.load({
            protocol: target.protocol,
            port: target.server.port,
            rate,
            seconds: quick ? 1 : SECONDS,
            warmUpSeconds: WARM_UP_SECONDS,
            seed: round,
          }),
        );
        await sleep(QUIET_MS);
      }
    for (const target of [http, socket]) {
      const ours = outcomes.get(target);
      if (ours === undefined) continue;
      const theirs = outcomes.get(peer);
      for (const { of, ...metric } of METRICS) {
        const measured = (rounds: readonly LoadOutcome[]): Measured => summarise(rounds.map(of));
        recorder.add(
          `${target.name}, ${rate} requests/s`,
          metric,
          measured(ours),
          theirs && { name: `${peer.name}, HTTP`, measured: measured(theirs) },
        );
      }
    }
    running = running.filter((target) => {
      const rounds = outcomes.get(target)!;
      const reason = kneeReason(rounds);
      if (reason === undefined && medianP99Ms(rounds) <= SERVED_P99_MS) served.set(target, rate);
      if (reason !== undefined) say(`serve: ${target.name} stops after ${rate}/s: ${reason}`);
      return reason === undefined;
    });
    if (!running.includes(http) && !running.includes(socket)) break;
  }
  for (const target of [http, socket])
    recorder.add(target.name, SERVED, exactly(served.get(target)!), {
      name: `${peer.name}, HTTP`,
      measured: exactly(served.get(peer)!),
    });
}

function exactly(value: number): Measured {
  return { value, spread: 0 };
}

function medianP99Ms(rounds: readonly LoadOutcome[]): number {
  return summarise(rounds.map(({ p99Ms }) => p99Ms)).value;
}

function kneeReason(rounds: readonly LoadOutcome[]): string | undefined {
  const failed = rounds.reduce((sum, outcome) => sum + outcome.failed + outcome.refused, 0);
  if (failed > 0) return `${failed} requests refused or unanswered`;
  const p99 = medianP99Ms(rounds);
  if (p99 > KNEE_P99_MS) return `p99 ${p99.toFixed(0)} ms`;
  const share = summarise(rounds.map(({ achievedRate, sentRate }) => achievedRate / sentRate));
  return share.value < KNEE_SHARE ? `answers ${(share.value * 100).toFixed(0)} %` : undefined;
}

/** A peer that answered another question would be no peer. */
async function expectSameAnswers(
  ours: number,
  theirs: number,
  questions: readonly Question[],
): Promise<void> {
  for (const question of questions) {
    const [expected, received] = await Promise.all([ask(ours, question), ask(theirs, question)]);
    const common = received.filter((item) => expected.includes(item)).length;
    if (expected.length !== K || common < LEAST_IN_COMMON)
      throw new Error(
        `Expected the peer to give at least ${LEAST_IN_COMMON} of our ${K} candidates for ${JSON.stringify(question)}, received ${common} of ${expected.length}.`,
      );
  }
}

async function ask(port: number, question: Question): Promise<string[]> {
  const response = await fetch(`http://127.0.0.1:${port}/v1/candidates`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ ...question, k: K }),
  });
  const { candidates } = (await response.json()) as { candidates: readonly { item: string }[] };
  return candidates.map(({ item }) => item);
}

/** Different requests of known users: most look at an item, some search. */
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
