// Compares the history encoder with the same encoder in ONNX Runtime and PyTorch: users a second,
// and the time of one user.

import { mkdtempSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  ratePerSecond,
  say,
  timePer,
  type BenchOptions,
  type Contestant,
  type Recorder,
} from './harness.ts';
import {
  TORCH_MODULES,
  openEngines,
  writeInputs,
  type Engine,
  type Engines,
} from './encoder-engines.ts';
import { pythonWith } from './peers/python.ts';
import { casesOf, referenceEncoder } from './encoder-setup.ts';

/** Before an f32 engine is timed, every value of every state must agree this closely. */
const TOLERANCE = 1e-3;
/** States of bf16 engines must have nearly the same direction as f32 states. */
const MIN_COSINE = 0.99;
/**
 * Encodings of a single user in one timed run, so that the request to the process is a small part
 * of the time.
 */
const REPEATS = 20;

export async function run(recorder: Recorder, { quick }: BenchOptions): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'tandem-bench-encoder-'));
  const weights = referenceEncoder();
  writeInputs(folder, weights);
  const python = pythonWith(TORCH_MODULES);
  if ('without' in python) say(`encoder: PyTorch is left out: ${python.without}`);
  try {
    for (const threads of new Set([1, availableParallelism()])) {
      const engines = await openEngines(folder, weights, threads);
      try {
        await agree(engines);
        await race(recorder, quick, engines, threads);
      } finally {
        engines.stop();
      }
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
}

async function race(
  recorder: Recorder,
  quick: boolean,
  { ours, oursBf16, peers }: Engines,
  threads: number,
): Promise<void> {
  const cases = casesOf();
  const suffix = threads === 1 ? '1 thread' : `${threads} threads`;
  const contestants = (name: string, repeat: number, engines: readonly Engine[]): Contestant[] =>
    engines.map((engine) => ({
      name: engine.name,
      run: () => engine.run(name, repeat),
      asynchronous: true,
    }));
  const rate = (users: readonly number[]): ReturnType<typeof ratePerSecond> =>
    ratePerSecond('users/s', users.length);
  // In f32, which the peers use, and in bf16, which is our fastest.
  for (const [precision, engines] of [
    ['', [ours, oursBf16, ...peers]],
    [', bf16', [oursBf16, ...peers]],
  ] as const) {
    await recorder.race(
      `users of 100 events, ${suffix}${precision}`,
      rate(cases.full.lengths),
      contestants('full', 1, engines),
      { quick },
    );
    await recorder.race(
      `users of 5 to 100 events, ${suffix}${precision}`,
      rate(cases.mixed.lengths),
      contestants('mixed', 1, engines),
      { quick },
    );
    // Ours encodes a single user on one thread; more threads only help the peers.
    if (threads === 1)
      await recorder.race(
        `one user of 100 events, ${suffix}${precision}`,
        timePer('ms', REPEATS),
        contestants('one', REPEATS, engines),
        { quick },
      );
  }
}

async function agree({ ours, oursBf16, peers }: Engines): Promise<void> {
  for (const name of ['full', 'mixed', 'one'])
    for (const engine of [oursBf16, ...peers]) {
      const [expected, received] = [await ours.states(name), await engine.states(name)];
      if (engine.name.includes('bf16')) expectSameDirection(engine, expected, received);
      else expectSame(engine, expected, received);
    }
}

function expectSame({ name }: Engine, expected: Float32Array, received: Float32Array): void {
  const difference = expected.reduce(
    (largest, value, i) => Math.max(largest, Math.abs(value - (received[i] ?? NaN))),
    0,
  );
  if (!(difference <= TOLERANCE) || received.length !== expected.length)
    throw new Error(
      `Expected ${name} to agree with the native encoder within ${TOLERANCE}, ` +
        `received a difference of ${difference}.`,
    );
}

function expectSameDirection(
  { name }: Engine,
  expected: Float32Array,
  received: Float32Array,
): void {
  const sum = (values: (i: number) => number): number =>
    expected.reduce((total, _, i) => total + values(i), 0);
  const cosine =
    sum((i) => expected[i]! * (received[i] ?? NaN)) /
    Math.sqrt(sum((i) => expected[i]! ** 2) * sum((i) => (received[i] ?? NaN) ** 2));
  if (!(cosine >= MIN_COSINE))
    throw new Error(
      `Expected states of ${name} with a cosine of at least ${MIN_COSINE} to ours, ` +
        `received ${cosine}.`,
    );
}
