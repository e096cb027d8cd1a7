// Compares our leaf kernels with a plain JavaScript loop and the tfjs backend `cpu`, and each
// instruction set with `scalar`.

import { useBackend } from '../src/backend/select.ts';
import { tf } from '../src/backend/tf.ts';
import { nativeAddon } from '../src/native/addon.ts';
import { Random } from '../src/random.ts';
import { newSearchOutput } from '../src/retrieval/search-plan.ts';
import { ratePerSecond, timePer, type BenchOptions, type Recorder } from './harness.ts';
import { headSetup } from './head-setup.ts';
import { plainScan } from './plain/scan.ts';
import { clusteredRows, K, queriesNear, WIDTH } from './vectors.ts';

const PLAIN = 'plain JS loop';
const TFJS = 'tfjs cpu';

interface MatmulCase {
  readonly batch: number;
  readonly m: number;
  readonly k: number;
  readonly n: number;
  /** Fewer for the largest case: tfjs cpu takes a second for it. */
  readonly rounds: number;
}

const MATMULS: readonly MatmulCase[] = [
  { batch: 1, m: 512, k: 512, n: 512, rounds: 3 },
  { batch: 1, m: 2048, k: 64, n: 64, rounds: 5 },
  { batch: 128, m: 32, k: 32, n: 32, rounds: 5 },
];
const SCAN_ITEMS = 20_000;
const SOFTMAX_ROWS = 512;
const SOFTMAX_COLUMNS = 1000;
const ELEMENTS = 262_144;

export async function run(recorder: Recorder, options: BenchOptions): Promise<void> {
  await useBackend('cpu');
  for (const shape of MATMULS) await matmul(recorder, options, shape);
  await elementwise(recorder, options);
  await adam(recorder, options);
  await scan(recorder, options);
  await isas(recorder, options);
}

async function matmul(
  recorder: Recorder,
  { quick }: BenchOptions,
  { batch, m, k, n, rounds }: MatmulCase,
): Promise<void> {
  const { ops } = nativeAddon();
  const a = normals(batch * m * k, 1);
  const b = normals(batch * k * n, 2);
  const out = new Float32Array(batch * m * n);
  const left = tf.tensor3d(a, [batch, m, k]);
  const right = tf.tensor3d(b, [batch, k, n]);
  await recorder.race(
    `matmul ${batch === 1 ? '' : `${batch} x `}[${m} x ${k}] [${k} x ${n}]`,
    ratePerSecond('GFLOP/s', (2 * batch * m * k * n) / 1e9),
    [
      {
        name: 'ours',
        run: () => {
          ops.matmul(a, b, out, batch, m, n, k, false, false, m * k, k * n, null, false);
        },
      },
      {
        name: PLAIN,
        run: () => {
          plainMatmul(a, b, out, batch, m, n, k);
        },
      },
      { name: TFJS, run: () => tf.tidy(() => tf.matMul(left, right).dataSync()) },
    ],
    { quick, rounds },
  );
  tf.dispose([left, right]);
}

/** Loops in the order i, k, j: the innermost loop reads along rows. */
function plainMatmul(
  a: Float32Array,
  b: Float32Array,
  out: Float32Array,
  batch: number,
  m: number,
  n: number,
  k: number,
): void {
  out.fill(0);
  for (let part = 0; part < batch; part++)
    for (let i = 0; i < m; i++) {
      const row = (part * m + i) * n;
      for (let l = 0; l < k; l++) {
        const factor = a[(part * m + i) * k + l]!;
        const from = (part * k + l) * n;
        for (let j = 0; j < n; j++) out[row + j]! += factor * b[from + j]!;
      }
    }
}

async function elementwise(recorder: Recorder, { quick }: BenchOptions): Promise<void> {
  const { ops } = nativeAddon();
  const x = normals(ELEMENTS, 3);
  const logits = normals(SOFTMAX_ROWS * SOFTMAX_COLUMNS, 4);
  const out = new Float32Array(ELEMENTS);
  const shares = new Float32Array(logits.length);
  const xTensor = tf.tensor1d(x);
  const logitsTensor = tf.tensor2d(logits, [SOFTMAX_ROWS, SOFTMAX_COLUMNS]);
  await recorder.race(
    `exp of ${ELEMENTS}`,
    timePer('us'),
    [
      {
        name: 'ours',
        run: () => {
          ops.unary('exp', x, out);
        },
      },
      {
        name: PLAIN,
        run: () => {
          for (let i = 0; i < x.length; i++) out[i] = Math.exp(x[i]!);
        },
      },
      { name: TFJS, run: () => tf.tidy(() => tf.exp(xTensor).dataSync()) },
    ],
    { quick },
  );
  await recorder.race(
    `softmax of [${SOFTMAX_ROWS} x ${SOFTMAX_COLUMNS}]`,
    timePer('us'),
    [
      {
        name: 'ours',
        run: () => {
          ops.softmax(logits, shares, SOFTMAX_ROWS, SOFTMAX_COLUMNS);
        },
      },
      {
        name: PLAIN,
        run: () => {
          plainSoftmax(logits, shares, SOFTMAX_COLUMNS);
        },
      },
      { name: TFJS, run: () => tf.tidy(() => tf.softmax(logitsTensor).dataSync()) },
    ],
    { quick },
  );
  tf.dispose([xTensor, logitsTensor]);
}

function plainSoftmax(x: Float32Array, out: Float32Array, columns: number): void {
  for (let begin = 0; begin < x.length; begin += columns) {
    let largest = -Infinity;
    for (let i = begin; i < begin + columns; i++) largest = Math.max(largest, x[i]!);
    let total = 0;
    for (let i = begin; i < begin + columns; i++) {
      const share = Math.exp(x[i]! - largest);
      out[i] = share;
      total += share;
    }
    for (let i = begin; i < begin + columns; i++) out[i]! /= total;
  }
}

async function adam(recorder: Recorder, { quick }: BenchOptions): Promise<void> {
  const { ops } = nativeAddon();
  const gradient = normals(ELEMENTS, 5);
  const newState = (): [Float32Array, Float32Array, Float32Array] => [
    normals(ELEMENTS, 6),
    new Float32Array(ELEMENTS),
    new Float32Array(ELEMENTS),
  ];
  const ours = newState();
  const plain = newState();
  const variable = tf.variable(tf.tensor1d(normals(ELEMENTS, 6)));
  const slope = tf.tensor1d(gradient);
  const gradients = [{ name: variable.name, tensor: slope }];
  const optimiser = tf.train.adam(1e-3, 0.9, 0.98, 1e-8);
  await recorder.race(
    `adam step of ${ELEMENTS}`,
    timePer('us'),
    [
      {
        name: 'ours',
        run: () => {
          ops.adam(ours[0], gradient, ours[1], ours[2], 1e-3, 0.9, 0.98, 1e-8, 10);
        },
      },
      {
        name: PLAIN,
        run: () => {
          plainAdam(plain[0], gradient, plain[1], plain[2], 10);
        },
      },
      {
        name: TFJS,
        run: () => {
          optimiser.applyGradients(gradients);
        },
      },
    ],
    { quick },
  );
  optimiser.dispose();
  tf.dispose([variable, slope]);
}

function plainAdam(
  parameter: Float32Array,
  gradient: Float32Array,
  m: Float32Array,
  v: Float32Array,
  step: number,
): void {
  const meanScale = 1 / (1 - 0.9 ** step);
  const squareScale = 1 / (1 - 0.98 ** step);
  for (let i = 0; i < parameter.length; i++) {
    const slope = gradient[i]!;
    const mean = 0.9 * m[i]! + 0.1 * slope;
    const square = 0.98 * v[i]! + 0.02 * slope * slope;
    m[i] = mean;
    v[i] = square;
    parameter[i]! -= (1e-3 * mean * meanScale) / (Math.sqrt(square * squareScale) + 1e-8);
  }
}

async function scan(recorder: Recorder, { quick }: BenchOptions): Promise<void> {
  const vectors = clusteredRows(SCAN_ITEMS, 7);
  const query = queriesNear(vectors, 1, 8);
  const index = new (nativeAddon().ExactIndex)(vectors, WIDTH);
  const found = newSearchOutput(1, K);
  const matrix = tf.tensor2d(vectors, [SCAN_ITEMS, WIDTH]);
  const column = tf.tensor2d(query, [WIDTH, 1]);
  await recorder.race(
    `dot scan of ${SCAN_ITEMS} x ${WIDTH}, best ${K}`,
    timePer('us'),
    [
      {
        name: 'ours',
        run: () => {
          index.search(query, 1, K, null, found);
        },
      },
      { name: PLAIN, run: () => plainScan(vectors, query, K) },
      {
        name: `${TFJS} (matMul and topk)`,
        run: () =>
          tf.tidy(() => tf.topk(tf.reshape(tf.matMul(matrix, column), [-1]), K).indices.dataSync()),
      },
    ],
    { quick },
  );
  tf.dispose([matrix, column]);
}

/** Times the classes that take an instruction set: each instruction set against scalar. */
async function isas(recorder: Recorder, { quick }: BenchOptions): Promise<void> {
  const { availableIsas, ExactIndex, Head } = nativeAddon();
  const vectors = clusteredRows(SCAN_ITEMS, 7);
  const queries = queriesNear(vectors, 32, 8);
  const found = newSearchOutput(32, K);
  const { weights, batch } = headSetup(64);
  const out = new Float32Array(64 * weights.embeddingWidth);
  const contestants = availableIsas.map((isa) => {
    const index = new ExactIndex(vectors, WIDTH, isa);
    const head = new Head(weights, isa);
    return {
      scan: {
        name: isa,
        run: () => {
          index.search(queries, 32, K, null, found);
        },
      },
      head: {
        name: isa,
        run: () => {
          head.embed(batch, out);
        },
      },
    };
  });
  const [scalar, ...others] = contestants;
  for (const other of others) {
    await recorder.race(
      `${other.scan.name}: dot scan of ${SCAN_ITEMS} x ${WIDTH}, a query of 32`,
      timePer('us', 32),
      [other.scan, scalar!.scan],
      { quick },
    );
    await recorder.race(
      `${other.head.name}: head, a call of 64 requests`,
      timePer('us'),
      [other.head, scalar!.head],
      { quick },
    );
  }
}

function normals(length: number, seed: number): Float32Array {
  const random = new Random(seed);
  return Float32Array.from({ length }, () => random.normal());
}
