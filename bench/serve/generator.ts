// The load generator, a process of its own. It sends requests on schedule, whether or not earlier
// ones were answered, and records latencies in an HdrHistogram. It spins on a core of its own
// instead of sleeping: timers of 1 ms would be part of every latency.

import { setTimeout as sleep } from 'node:timers/promises';
import { build } from 'tandem-offline/histogram';
import { Random } from '../../src/random.ts';
import { openHttp } from './http-client.ts';
import type { LoadOrder, LoadOutcome, Question, SaturationOrder } from './load.ts';
import { openSockets } from './socket-client.ts';

/** How long answers are awaited after the last request. Later answers count as failed. */
const PATIENCE_MS = 3000;

let questions: readonly Question[] = [];

interface Message {
  readonly questions?: readonly Question[];
  readonly order?: LoadOrder;
  readonly saturation?: SaturationOrder;
}

process.on('message', (message: Message) => {
  if (message.questions !== undefined) questions = message.questions;
  if (message.order !== undefined) reply(load(message.order));
  if (message.saturation !== undefined) reply(saturate(message.saturation));
});

function reply(outcome: Promise<LoadOutcome | number>): void {
  outcome.then(
    (value) => process.send!(value),
    (error: unknown) => {
      process.stderr.write(`${String(error)}\n`);
      process.exit(1);
    },
  );
}

/** @returns good answers a second. */
async function saturate(order: SaturationOrder): Promise<number> {
  const client = openHttp(order.port, questions, false);
  let answered = 0;
  let index = 0;
  let open = true;
  const ask = (): void => {
    client.send(index++ % questions.length, (answer) => {
      if (answer === 'answered') answered++;
      // The connection is free again after this callback.
      if (open) process.nextTick(ask);
    });
  };
  for (let i = 0; i < order.connections; i++) ask();
  await sleep(order.warmUpSeconds * 1000);
  const [before, startMs] = [answered, performance.now()];
  await sleep(order.seconds * 1000);
  const rate = ((answered - before) * 1000) / (performance.now() - startMs);
  open = false;
  client.close();
  return rate;
}

async function load(order: LoadOrder): Promise<LoadOutcome> {
  const client =
    order.protocol === 'ws'
      ? await openSockets(order.port, questions)
      : openHttp(order.port, questions, order.protocol === 'http-binary');
  const range = { highestTrackableValue: 60_000_000, numberOfSignificantValueDigits: 3 } as const;
  const histogram = build(range);
  const refusals = build(range);
  const random = new Random(order.seed, order.rate);
  const startMs = performance.now();
  const measureFromMs = startMs + order.warmUpSeconds * 1000;
  const endMs = measureFromMs + order.seconds * 1000;
  const nextGapMs = (): number => (-Math.log(1 - random.uniform()) * 1000) / order.rate;
  /** Due times of the unanswered requests, by number. */
  const open = new Map<number, number>();
  let index = 0;
  let dueMs = startMs + nextGapMs();
  let sent = 0;
  let achieved = 0;
  let failed = 0;
  let refused = 0;

  const send = (number: number, due: number): void => {
    open.set(number, due);
    if (due >= measureFromMs) sent++;
    client.send(number % questions.length, (answer) => {
      open.delete(number);
      const nowMs = performance.now();
      if (answer === 'failed') failed++;
      else if (answer === 'refused') {
        refused++;
        if (due >= measureFromMs) refusals.recordValue(micros(nowMs - due));
      } else {
        if (due >= measureFromMs) histogram.recordValue(micros(nowMs - due));
        if (nowMs >= measureFromMs && nowMs < endMs) achieved++;
      }
    });
  };
  await new Promise<void>((resolve) => {
    const turn = (): void => {
      const nowMs = performance.now();
      for (; dueMs <= nowMs && dueMs < endMs; dueMs += nextGapMs()) send(index++, dueMs);
      if (nowMs >= endMs && (open.size === 0 || nowMs > endMs + PATIENCE_MS)) resolve();
      else setImmediate(turn);
    };
    turn();
  });
  // A missing answer took at least this long. Leaving it out would make a stalled server look fast.
  const nowMs = performance.now();
  for (const due of open.values()) histogram.recordValue(micros(nowMs - due));
  failed += open.size;
  client.close();
  const quantileMs = (percent: number): number => histogram.getValueAtPercentile(percent) / 1000;
  return {
    p50Ms: quantileMs(50),
    p90Ms: quantileMs(90),
    p99Ms: quantileMs(99),
    p999Ms: quantileMs(99.9),
    achievedRate: achieved / order.seconds,
    sentRate: sent / order.seconds,
    failed,
    refused,
    refusedP99Ms: refusals.getValueAtPercentile(99) / 1000,
  };
}

function micros(ms: number): number {
  return Math.max(1, Math.round(ms * 1000));
}
