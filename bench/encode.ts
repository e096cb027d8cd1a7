// Compares the engines of the batch encoding job: the native encoder, and tfjs on every backend of
// this machine.

import { useBackend } from '../src/backend/select.ts';
import { tf } from '../src/backend/tf.ts';
import { encoderWeights } from '../src/bundle/weights/encoder-weights.ts';
import { HistoryEncoder } from '../src/bundle/weights/history-encoder.ts';
import type { ModelConfig } from '../src/bundle/manifest.ts';
import type { TwoTower } from '../src/model/network/two-tower.ts';
import { hasGpu, presentBackends, type PresentBackend } from './backends.ts';
import { LARGE_MODEL, REFERENCE_MODEL } from './encoder-setup.ts';
import {
  ratePerSecond,
  type BenchOptions,
  type Contestant,
  type Recorder,
  type RaceOptions,
} from './harness.ts';
import { referenceBatch, referenceModel } from './training-reference.ts';

/** Before engines are timed, every value of every state must agree this closely. */
const TOLERANCE = 2e-3;
/** Rows and columns of the matrix product that shows how fast a backend is at best. */
const PRODUCT = 2048;
/** Users of a race: as many as a CPU encodes in a second or two, and as many as keep a GPU busy. */
const USERS = { reference: { cpu: 512, gpu: 16_384 }, large: { cpu: 16, gpu: 512 } } as const;
const QUICK_USERS = 4;
const RACE: RaceOptions = { rounds: 3, roundSeconds: 2 };

export async function run(recorder: Recorder, options: BenchOptions): Promise<void> {
  const backends = await presentBackends(options.backend);
  await raceProducts(recorder, options, backends);
  const device = hasGpu(backends) ? 'gpu' : 'cpu';
  for (const [name, config] of [
    ['reference', REFERENCE_MODEL],
    ['large', LARGE_MODEL],
  ] as const) {
    const users = options.quick ? QUICK_USERS : USERS[name][device];
    await raceEncoders(recorder, options, backends, { name, config, users });
  }
}

interface Case {
  readonly name: string;
  readonly config: ModelConfig;
  readonly users: number;
}

async function raceEncoders(
  recorder: Recorder,
  { quick }: BenchOptions,
  backends: readonly PresentBackend[],
  { name, config, users }: Case,
): Promise<void> {
  const { histories } = referenceBatch(0, config, users);
  const models: TwoTower[] = [];
  await useBackend();
  const first = referenceModel(config);
  models.push(first);
  const weights = encoderWeights(await first.weights(), config, first.schema, first.items);
  const native = new HistoryEncoder(weights, 'newest');
  const expected = native.encode(histories);
  const contestants: Contestant[] = [{ name: 'ours', run: () => native.encode(histories) }];
  for (const { name: backend, device } of backends) {
    await useBackend(backend);
    const model = referenceModel(config);
    models.push(model);
    expectSame(`tfjs on ${backend}`, expected, await model.encodeHistories(histories));
    contestants.push({
      name: `tfjs on ${backend} (${device})`,
      before: () => useBackend(backend),
      run: () => model.encodeHistories(histories),
      asynchronous: true,
    });
  }
  const { maxHistory, embeddingWidth, blocks } = config;
  await recorder.race(
    `${name}: ${users} users of ${maxHistory} events, width ${embeddingWidth}, ${blocks} blocks`,
    ratePerSecond('users/s', users),
    contestants,
    { quick, ...RACE },
  );
  for (const model of models) model.dispose();
}

/** Times a matrix product on each backend, to compare the encoders with. */
async function raceProducts(
  recorder: Recorder,
  { quick }: BenchOptions,
  backends: readonly PresentBackend[],
): Promise<void> {
  const size = quick ? 128 : PRODUCT;
  const contestants: Contestant[] = [];
  for (const { name, device } of backends) {
    await useBackend(name);
    const [a, b] = [tf.randomNormal([size, size]), tf.randomNormal([size, size])];
    contestants.push({
      name: `tfjs on ${name} (${device})`,
      before: () => useBackend(name),
      // Reading one value waits for the product without timing the transfer of the whole result.
      run: async () => {
        const corner = tf.tidy(() => tf.slice(tf.matMul(a, b), [0, 0], [1, 1]));
        await corner.data();
        corner.dispose();
      },
      asynchronous: true,
    });
  }
  await recorder.race(
    `f32 product, ${size} x ${size} x ${size}`,
    ratePerSecond('GFLOP/s', (2 * size ** 3) / 1e9),
    contestants,
    { quick, ...RACE },
  );
}

function expectSame(
  name: string,
  expected: readonly Float32Array[],
  received: readonly Float32Array[],
): void {
  for (const [user, state] of expected.entries())
    for (const [i, value] of state.entries())
      if (!(Math.abs(value - received[user]![i]!) <= TOLERANCE))
        throw new Error(
          `Expected ${name} to agree with the native encoder within ${TOLERANCE}, ` +
            `received ${received[user]![i]!} instead of ${value} for user ${user}.`,
        );
}
