// The engines of the encoder benchmark: child processes that answer on stdin and stdout (ours,
// PyTorch), and onnxruntime-node in this process. All have one interface, so that a race can
// alternate them.

import { spawn } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { HistoryBatch } from '../src/features/sequence.ts';
import type { EncoderWeights } from '../src/native/encoder.ts';
import { casesOf, histories } from './encoder-setup.ts';
import { pythonWith } from './peers/python.ts';
import { loadOnnxRuntime, onnxName, type OnnxSession } from './onnx-file.ts';
import { encoderModel } from './onnx-encoder.ts';

/** One line to an engine process. */
export interface Order {
  readonly engine: string;
  readonly case: string;
  /** How often all users of the case are encoded. */
  readonly repeat: number;
  /** Whether the engine writes the states to states.bin. */
  readonly states: boolean;
}

export interface Engine {
  readonly name: string;
  readonly run: (name: string, repeat: number) => Promise<void>;
  /** Encodes a case and returns its states, [B, D]. */
  readonly states: (name: string) => Promise<Float32Array>;
}

/**
 * Users in one call of a peer. With 8 to 128 the rates of ONNX Runtime differed by less than a
 * sixth; 32 was best.
 */
const PEER_CHUNK = 32;

/** The modules that the Python peer needs. */
export const TORCH_MODULES: readonly string[] = ['torch', 'numpy'];

/** The engines, and a function that ends their processes. */
export interface Engines {
  readonly ours: Engine;
  readonly oursBf16: Engine;
  readonly peers: readonly Engine[];
  readonly stop: () => void;
}

export async function openEngines(
  folder: string,
  weights: EncoderWeights,
  threads: number,
): Promise<Engines> {
  const child = await openProcess(
    process.execPath,
    ['--import', 'tsx', join(import.meta.dirname, 'encoder-child.ts'), folder],
    folder,
    { TANDEM_THREADS: String(threads) },
  );
  const [ours, oursBf16] = child.engines;
  const python = pythonWith(TORCH_MODULES);
  const torch =
    'without' in python
      ? undefined
      : await openProcess(
          python.python,
          [join(import.meta.dirname, 'peers', 'encoder_torch.py'), folder, String(threads)],
          folder,
          { OMP_NUM_THREADS: String(threads) },
        );
  return {
    ours: { ...ours!, name: 'ours' },
    oursBf16: { ...oursBf16!, name: 'ours, bf16' },
    peers: [...(await onnxEngines(weights, threads)), ...(torch?.engines ?? [])],
    stop: () => {
      child.stop();
      torch?.stop();
    },
  };
}

async function openProcess(
  command: string,
  parameters: readonly string[],
  folder: string,
  env: Readonly<Record<string, string>>,
): Promise<{ engines: readonly Engine[]; stop: () => void }> {
  const child = spawn(command, parameters, {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: { ...process.env, ...env },
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const next = async (): Promise<string> => {
    const line: IteratorResult<string, unknown> = await lines.next();
    if (line.done === true) throw new Error(`Expected an answer of ${command}, but it ended.`);
    return line.value;
  };
  const ask = async (order: Order): Promise<void> => {
    child.stdin.write(`${JSON.stringify(order)}\n`);
    await next();
  };
  const { engines } = JSON.parse(await next()) as { engines: string[] };
  return {
    engines: engines.map((engine) => ({
      name: engine,
      run: (name, repeat) => ask({ engine, case: name, repeat, states: false }),
      states: async (name) => {
        await ask({ engine, case: name, repeat: 1, states: true });
        const bytes = readFileSync(join(folder, 'states.bin'));
        return new Float32Array(new Uint8Array(bytes).buffer);
      },
    })),
    stop: () => {
      child.stdin.end();
    },
  };
}

/**
 * Opens the exported graph, and the same graph without the parts that the last row does not need.
 */
async function onnxEngines(weights: EncoderWeights, threads: number): Promise<Engine[]> {
  const runtime = loadOnnxRuntime();
  if (runtime === undefined) return [];
  const { Tensor, InferenceSession } = runtime;
  const length = weights.maxHistory;
  const cases = new Map(
    Object.entries(casesOf()).map(([name, { lengths, seed }]) => {
      const { items, actions, gaps, valid } = padded(histories(lengths, seed), length);
      const chunks: Record<string, object>[] = [];
      for (let at = 0; at < lengths.length; at += PEER_CHUNK) {
        const rows = Math.min(PEER_CHUNK, lengths.length - at);
        const tensor = (column: Int32Array): object =>
          new Tensor('int32', column.slice(at * length, (at + rows) * length), [rows, length]);
        chunks.push({
          items: tensor(items),
          actions: tensor(actions),
          gaps: tensor(gaps),
          valid: new Tensor(
            'float32',
            Float32Array.from(valid.subarray(at * length, (at + rows) * length)),
            [rows, length],
          ),
        });
      }
      return [name, chunks] as const;
    }),
  );
  const engine = (name: string, session: OnnxSession): Engine => {
    const encode = async (of: string): Promise<Float32Array> => {
      const parts: Float32Array[] = [];
      for (const chunk of cases.get(of)!) parts.push((await session.run(chunk))['states']!.data);
      return Float32Array.from(parts.flatMap((part) => [...part]));
    };
    return {
      name,
      run: async (of, repeat) => {
        for (let i = 0; i < repeat; i++)
          for (const chunk of cases.get(of)!) await session.run(chunk);
      },
      states: encode,
    };
  };
  const options = { intraOpNumThreads: threads, interOpNumThreads: 1, logSeverityLevel: 3 };
  const open = (pruned: boolean): Promise<OnnxSession> =>
    InferenceSession.create(encoderModel(weights, pruned), options);
  return [
    engine(onnxName(runtime), await open(false)),
    engine(`${onnxName(runtime)}, last row only`, await open(true)),
  ];
}

/**
 * Pads histories on the left to `length` columns. Items are row + 1; `valid` is 1 for events, else
 * 0.
 */
function padded(
  { offsets, items, actions, gaps }: HistoryBatch,
  length: number,
): { items: Int32Array; actions: Int32Array; gaps: Int32Array; valid: Int32Array } {
  const count = offsets.length - 1;
  const out = {
    items: new Int32Array(count * length),
    actions: new Int32Array(count * length),
    gaps: new Int32Array(count * length),
    valid: new Int32Array(count * length),
  };
  for (let user = 0; user < count; user++)
    for (let i = offsets[user]!; i < offsets[user + 1]!; i++) {
      const to = (user + 1) * length - (offsets[user + 1]! - i);
      out.items[to] = items[i]! + 1;
      out.actions[to] = actions[i]!;
      out.gaps[to] = gaps[i]!;
      out.valid[to] = 1;
    }
  return out;
}

/** Writes weights, inputs and the ONNX graph for the Python peer. */
export function writeInputs(folder: string, weights: EncoderWeights): void {
  mkdirSync(folder, { recursive: true });
  const { embeddingWidth: d, actionWidth: a, feedForwardWidth: f, maxHistory: t } = weights;
  const items = new Float32Array(weights.itemTable.length + d);
  items.set(weights.itemTable, d);
  const named: [string, Float32Array, number[]][] = [
    ['item', items, [items.length / d, d]],
    ['action', weights.actionTable, [weights.actionTable.length / a, a]],
    ['gap', weights.gapTable, [weights.gapTable.length / d, d]],
    ['position', weights.positionTable, [t, d]],
    ['input.weight', weights.inputWeight, [d, d + a]],
    ['input.bias', weights.inputBias, [d]],
    ['norm.scale', weights.normScale, [d]],
    ['norm.offset', weights.normOffset, [d]],
  ];
  for (const [b, block] of weights.blocks.entries())
    named.push(
      [`${b}.norm1.scale`, block.attentionNormScale, [d]],
      [`${b}.norm1.offset`, block.attentionNormOffset, [d]],
      [`${b}.query.weight`, block.queryWeight, [d, d]],
      [`${b}.query.bias`, block.queryBias, [d]],
      [`${b}.key.weight`, block.keyWeight, [d, d]],
      [`${b}.key.bias`, block.keyBias, [d]],
      [`${b}.value.weight`, block.valueWeight, [d, d]],
      [`${b}.value.bias`, block.valueBias, [d]],
      [`${b}.output.weight`, block.attentionOutputWeight, [d, d]],
      [`${b}.output.bias`, block.attentionOutputBias, [d]],
      [`${b}.norm2.scale`, block.feedForwardNormScale, [d]],
      [`${b}.norm2.offset`, block.feedForwardNormOffset, [d]],
      [`${b}.hidden.weight`, block.feedForwardWeight, [f, d]],
      [`${b}.hidden.bias`, block.feedForwardBias, [f]],
      [`${b}.update.weight`, block.feedForwardOutputWeight, [d, f]],
      [`${b}.update.bias`, block.feedForwardOutputBias, [d]],
    );
  let offset = 0;
  const tensors = named.map(([name, data, shape]) => {
    const entry = { name, shape, offset };
    offset += data.length;
    return entry;
  });
  const all = new Float32Array(offset);
  for (const [i, [, data]] of named.entries()) all.set(data, tensors[i]!.offset);
  writeFileSync(join(folder, 'weights.bin'), all);
  writeFileSync(join(folder, 'encoder.onnx'), encoderModel(weights, false));
  const { embeddingWidth, heads, maxHistory, blocks } = weights;
  const config = { embeddingWidth, heads, maxHistory, blocks: blocks.length };
  writeFileSync(
    join(folder, 'config.json'),
    JSON.stringify({ ...config, tensors, chunk: PEER_CHUNK }),
  );
  for (const [name, { lengths, seed }] of Object.entries(casesOf()))
    for (const [column, values] of Object.entries(padded(histories(lengths, seed), maxHistory)))
      writeFileSync(join(folder, `${name}.${column}.bin`), values);
}
