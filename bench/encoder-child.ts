// Runs our encoder in a process of its own, because the addon's pool keeps one number of threads
// for the life of a process. It speaks the protocol of peers/encoder_torch.py.

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { nativeAddon } from '../src/native/addon.ts';
import type { NativeEncoder } from '../src/native/encoder.ts';
import type { Precision } from '../src/native/isa.ts';
import type { Order } from './encoder-engines.ts';
import { casesOf, histories, referenceEncoder } from './encoder-setup.ts';

const folder = process.argv[2]!;
const weights = referenceEncoder();
const encoders = new Map<string, NativeEncoder>();
const batches = new Map(
  Object.entries(casesOf()).map(([name, { lengths, seed }]) => [name, histories(lengths, seed)]),
);

function answer({ engine, case: name, repeat, states }: Order): void {
  let encoder = encoders.get(engine);
  if (encoder === undefined) {
    encoder = new (nativeAddon().Encoder)(weights, undefined, engine as Precision);
    encoders.set(engine, encoder);
  }
  const batch = batches.get(name)!;
  const out = new Float32Array((batch.offsets.length - 1) * weights.embeddingWidth);
  for (let i = 0; i < repeat; i++) encoder.encode(batch, out);
  if (states) writeFileSync(join(folder, 'states.bin'), out);
}

process.stdout.write(`${JSON.stringify({ engines: ['f32', 'bf16'] })}\n`);
createInterface({ input: process.stdin }).on('line', (line) => {
  answer(JSON.parse(line) as Order);
  process.stdout.write('{}\n');
});
