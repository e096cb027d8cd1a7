// Child process of corrupted-indexes.test.ts: loads damaged indexes one after the other. A crash
// ends this process only; the last number that it wrote says which damage caused it. Arguments:
// format, file of the valid bytes, seed, count.

import { readFileSync, writeSync } from 'node:fs';
import { damage, RESIZING } from './corruption.ts';
import { INDEX_FORMATS, searchThoroughly } from './index-formats.ts';

/**
 * Writes directly to the descriptor, because a crash loses what a stream buffers. Waits while the
 * pipe is full.
 */
function say(line: string): void {
  for (;;)
    try {
      writeSync(1, `${line}\n`);
      return;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, PIPE_FULL_MS);
    }
}

const PIPE_FULL_MS = 5;
const [name, file, seed, count] = process.argv.slice(2);
const format = INDEX_FORMATS[name!]!;
const valid = new Uint8Array(readFileSync(file!));
const fields = format.fields(valid);
const summary: Record<string, { refused: number; loaded: number }> = {};

searchThoroughly(await format.load(valid));
for (let n = 0; n < Number(count); n++) {
  say(String(n));
  const { kind, bytes } = damage(valid, fields, Number(seed), n);
  const sums = (summary[kind] ??= { refused: 0, loaded: 0 });
  let index;
  try {
    index = await format.load(bytes);
  } catch (error) {
    const { code, message } = error as { code?: string; message: string };
    if (code !== 'ERR_INDEX_INVALID')
      throw new Error(`Expected ERR_INDEX_INVALID for ${kind} ${n}, received: ${message}`, {
        cause: error,
      });
    sums.refused++;
    continue;
  }
  if (RESIZING.includes(kind)) throw new Error(`Expected ${kind} ${n} to be refused.`);
  searchThoroughly(index);
  sums.loaded++;
}
say(JSON.stringify(summary));
