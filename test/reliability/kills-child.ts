// Child process of kills.ts, made to be killed: publishes bundles or writes states, and prints a
// line after each bundle or batch that is complete.

import { writeSync } from 'node:fs';
import { basename } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { EncoderId, UserId } from '../../src/ids.ts';
import { LmdbStore } from '../../src/store/lmdb-store.ts';
import { publishTinyBundle } from '../support/tiny-bundle.ts';

export const ENCODER = 'ab'.repeat(32) as EncoderId;
export const BATCH_USERS = 200;
export const STATE_WIDTH = 8;

export function userOf(batch: number, i: number): string {
  return `user-${batch}-${i}`;
}

export function valueOf(batch: number, i: number): number {
  return Math.fround(batch + i / BATCH_USERS);
}

async function publish(directory: string, from: number): Promise<void> {
  for (let n = from; ; n++) {
    const { directory: bundle } = await publishTinyBundle(directory, { items: 60, seed: n + 1 });
    say(`published ${basename(bundle)}`);
  }
}

async function write(directory: string, from: number): Promise<void> {
  const store = LmdbStore.open(directory);
  for (let batch = from; ; batch++) {
    await store.write(
      ENCODER,
      Array.from({ length: BATCH_USERS }, (_, i) => ({
        user: userOf(batch, i) as UserId,
        state: {
          state: new Float32Array(STATE_WIDTH).fill(valueOf(batch, i)),
          dimensions: STATE_WIDTH,
          type: 'f32',
          lastEventSeconds: 1,
          encodedAtSeconds: 2,
        },
      })),
    );
    say(String(batch));
  }
}

/** Writes directly to the descriptor: a kill would lose what a stream still buffers. */
function say(line: string): void {
  writeSync(1, `${line}\n`);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [job, directory, from] = process.argv.slice(2);
  await (job === 'publish' ? publish : write)(directory!, Number(from));
}
