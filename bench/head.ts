// Compares the head with the same head in plain JavaScript, in tfjs on two backends, and in
// onnxruntime-node where it is installed. It also times precisions, fusions and an empty call, and
// the share of the roofline that the head reaches.

import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { useBackend } from '../src/backend/select.ts';
import { TwoTower } from '../src/model/network/two-tower.ts';
import { DEFAULT_MODEL } from '../src/model/train-config.ts';
import type { HeadBatch } from '../src/features/head-batch.ts';
import { nativeAddon } from '../src/native/addon.ts';
import type { HeadWeights } from '../src/native/head.ts';
import {
  race,
  summarise,
  timePer,
  type BenchOptions,
  type Contestant,
  type Recorder,
} from './harness.ts';
import { attentionSetup, headSetup } from './head-setup.ts';
import { openOnnxHead } from './onnx-head.ts';
import { PlainHead } from './plain/head.ts';

/** Before an implementation is timed, it must agree with ours this closely. */
const TOLERANCE = 1e-4;

/** Largest difference from f32 that bf16 may make in a component of a unit vector. */
const BF16_TOLERANCE = 0.02;
/** Number of event states of a user for fusion attention. */
const EVENTS = 100;

export async function run(recorder: Recorder, options: BenchOptions): Promise<void> {
  await concat(recorder, options);
  for (const requests of [1, 64]) {
    await bf16(recorder, options, requests);
    await attention(recorder, options, requests);
  }
  await crossing(recorder, options);
  await roofline(recorder, options);
}

async function concat(recorder: Recorder, { quick }: BenchOptions): Promise<void> {
  for (const requests of [1, 64]) {
    const { weights, tensors, schema, items, batch } = headSetup(requests);
    const width = weights.embeddingWidth;
    const head = new (nativeAddon().Head)(weights);
    const expected = new Float32Array(requests * width);
    head.embed(batch, expected);
    const out = new Float32Array(requests * width);

    const plain = new PlainHead(weights);
    plain.embed(batch, out);
    expectSame('plain JS', expected, out);
    const contestants: Contestant[] = [
      {
        name: 'ours',
        run: () => {
          head.embed(batch, out);
        },
      },
      {
        name: 'plain JS loops',
        run: () => {
          plain.embed(batch, out);
        },
      },
    ];
    const models: TwoTower[] = [];
    for (const backend of ['cpu', 'native'] as const) {
      await useBackend(backend);
      const model = new TwoTower(DEFAULT_MODEL, schema, items, tensors);
      models.push(model);
      expectSame(`tfjs ${backend}`, expected, await model.embedQueries(batch));
      contestants.push({
        name: backend === 'cpu' ? 'tfjs cpu' : 'tfjs on our native backend',
        before: () => useBackend(backend),
        run: () => model.embedQueries(batch),
        asynchronous: true,
      });
    }
    const onnx = await openOnnxHead(weights, batch);
    if (onnx !== undefined) {
      expectSame('onnxruntime-node', expected, await onnx.run());
      contestants.push({ name: onnx.name, run: onnx.run, asynchronous: true });
    }
    await recorder.race(caseOf(requests), timePer('us'), contestants, { quick });
    for (const model of models) model.dispose();
  }
}

async function bf16(recorder: Recorder, { quick }: BenchOptions, requests: number): Promise<void> {
  const { weights, batch } = headSetup(requests);
  const { Head, defaultIsa } = nativeAddon();
  const [ours, f32] = [new Head(weights, defaultIsa, 'bf16'), new Head(weights)];
  const out = new Float32Array(requests * weights.embeddingWidth);
  f32.embed(batch, out);
  const expected = out.slice();
  ours.embed(batch, out);
  expectSame('bf16', expected, out, BF16_TOLERANCE);
  const contestants: Contestant[] = [
    {
      name: 'ours',
      run: () => {
        ours.embed(batch, out);
      },
    },
    {
      name: 'ours in f32',
      run: () => {
        f32.embed(batch, out);
      },
    },
  ];
  const onnx = await openOnnxHead(weights, batch);
  if (onnx !== undefined)
    contestants.push({ name: `${onnx.name} in f32`, run: onnx.run, asynchronous: true });
  await recorder.race(`bf16, ${caseOf(requests)}`, timePer('us'), contestants, { quick });
}

async function attention(
  recorder: Recorder,
  { quick }: BenchOptions,
  requests: number,
): Promise<void> {
  const { weights, batch } = attentionSetup(requests, EVENTS);
  const head = new (nativeAddon().Head)(weights);
  const out = new Float32Array(requests * weights.embeddingWidth);
  head.embed(batch, out);
  const contestants: Contestant[] = [
    {
      name: 'ours',
      run: () => {
        head.embed(batch, out);
      },
    },
  ];
  const onnx = await openOnnxHead(weights, batch);
  if (onnx !== undefined) {
    expectSame('onnxruntime-node', out, await onnx.run());
    contestants.push({ name: onnx.name, run: onnx.run, asynchronous: true });
  }
  await recorder.race(`attention, ${caseOf(requests)}`, timePer('us'), contestants, { quick });
}

/** Times a batch without requests: the cost of a call that computes nothing. */
async function crossing(recorder: Recorder, { quick }: BenchOptions): Promise<void> {
  const { weights } = headSetup(1);
  const head = new (nativeAddon().Head)(weights);
  const floats = new Float32Array(0);
  const batch: HeadBatch = {
    count: 0,
    states: floats,
    hasState: new Uint8Array(0),
    stateAge: floats,
    subjectOffsets: new Int32Array(1),
    subjectRows: new Int32Array(0),
    subjectWeights: floats,
    demographics: new Int32Array(0),
  };
  const contestants = [
    {
      name: 'ours',
      run: () => {
        head.embed(batch, floats);
      },
    },
  ];
  await recorder.race('the crossing alone', timePer('us'), contestants, { quick });
}

async function roofline(recorder: Recorder, { quick }: BenchOptions): Promise<void> {
  const requests = 64;
  const { weights, batch } = headSetup(requests);
  const head = new (nativeAddon().Head)(weights);
  const out = new Float32Array(requests * weights.embeddingWidth);
  const [times] = await race(
    [
      {
        name: 'ours',
        run: () => {
          head.embed(batch, out);
        },
      },
    ],
    { quick },
  );
  const peak = peakRate();
  const operations = 2 * requests * foldedMultiplications(weights);
  const shares = times!.map((seconds) => (100 * operations) / (seconds * 1e9 * peak));
  const rate = { metric: 'rate', unit: 'GFLOP/s', better: 'higher' } as const;
  recorder.add('roofline: one thread', rate, { value: peak, spread: 0 });
  const share = { metric: 'share of the roofline', unit: '%', better: 'higher' } as const;
  recorder.add(caseOf(requests), share, summarise(shares));
}

/** Multiplications of a request in the two products that folding leaves: [H, Z] and [D, H + Z]. */
function foldedMultiplications({ embeddingWidth, hiddenWidth, hiddenWeight }: HeadWeights): number {
  const fused = hiddenWeight.length / hiddenWidth;
  return hiddenWidth * fused + embeddingWidth * (hiddenWidth + fused);
}

/** Measures the rate of one thread in GFLOP/s, in a process of its own. */
function peakRate(): number {
  const parameters = [...process.execArgv, join(import.meta.dirname, 'peak.ts')];
  const env = { ...process.env, TANDEM_THREADS: '1' };
  return Number(execFileSync(process.execPath, parameters, { env, encoding: 'utf8' }));
}

function caseOf(requests: number): string {
  return requests === 1 ? '1 request' : `${requests} requests`;
}

function expectSame(
  name: string,
  expected: Float32Array,
  received: Float32Array,
  tolerance = TOLERANCE,
): void {
  const difference = expected.reduce(
    (largest, value, i) => Math.max(largest, Math.abs(value - received[i]!)),
    0,
  );
  if (!(difference <= tolerance))
    throw new Error(
      `Expected ${name} to agree with the native head within ${tolerance}, ` +
        `received a difference of ${difference}.`,
    );
}
