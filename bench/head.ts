// The head against the same head in plain JavaScript, tfjs on both backends, and onnxruntime-node where it is installed.

import { useBackend } from '../src/backend/select.ts';
import { TwoTower } from '../src/model/two-tower.ts';
import { DEFAULT_MODEL } from '../src/model/train-config.ts';
import { nativeAddon } from '../src/native/binding.ts';
import { timePer, type BenchOptions, type Contestant, type Recorder } from './harness.ts';
import { headSetup } from './head-setup.ts';
import { openOnnxHead } from './onnx-head.ts';
import { PlainHead } from './plain/head.ts';

/** Every way to compute the head must agree this closely before it is timed. */
const TOLERANCE = 1e-4;

export async function run(recorder: Recorder, { quick }: BenchOptions): Promise<void> {
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
      expectSame(`tfjs ${backend}`, expected, model.embedQueries(batch));
      contestants.push({
        name: backend === 'cpu' ? 'tfjs cpu' : 'tfjs on our native backend',
        before: () => useBackend(backend),
        run: () => model.embedQueries(batch),
      });
    }
    const onnx = await openOnnxHead(weights, batch);
    if (onnx !== undefined) {
      expectSame('onnxruntime-node', expected, await onnx.run());
      contestants.push({ name: onnx.name, run: onnx.run, asynchronous: true });
    }
    await recorder.race(
      requests === 1 ? '1 request' : `${requests} requests`,
      timePer('us'),
      contestants,
      { quick },
    );
    for (const model of models) model.dispose();
  }
}

function expectSame(name: string, expected: Float32Array, received: Float32Array): void {
  const difference = expected.reduce(
    (largest, value, i) => Math.max(largest, Math.abs(value - received[i]!)),
    0,
  );
  if (!(difference <= TOLERANCE))
    throw new Error(
      `Expected ${name} to agree with the native head within ${TOLERANCE}, received a difference of ${difference}.`,
    );
}
