// A bundle of random weights and a store of random states to serve: right in shape and size, without any meaning.

import { join } from 'node:path';
import { loadBundle } from '../../src/bundle/load.ts';
import type { EncoderId, UserId } from '../../src/ids.ts';
import { Random } from '../../src/random.ts';
import { LmdbStore } from '../../src/store/lmdb-store.ts';
import { publishTinyBundle } from '../../test/support/tiny-bundle.ts';

export const USER_COUNT = 10_000;
const WIDTH = 64;
const HIDDEN_WIDTH = 128;

export function userId(i: number): string {
  return `user-${i}`;
}

/** @returns directories for `tandem serve`, both under `folder`. */
export async function makeServeBundle(
  folder: string,
  items: number,
): Promise<{ bundles: string; store: string }> {
  const bundles = join(folder, 'bundles');
  const directory = join(folder, 'store');
  await publishTinyBundle(bundles, { items, width: WIDTH, hiddenWidth: HIDDEN_WIDTH });
  const { manifest } = await loadBundle(bundles);
  const encoderId = manifest.encoderId as EncoderId;
  const random = new Random(9);
  const nowSeconds = Math.floor(Date.now() / 1000);
  const store = LmdbStore.open(directory);
  try {
    await store.write(
      encoderId,
      Array.from({ length: USER_COUNT }, (_, i) => ({
        user: userId(i) as UserId,
        state: {
          state: Float32Array.from({ length: WIDTH }, () => random.normal()),
          dimensions: WIDTH,
          type: 'f32',
          lastEventSeconds: nowSeconds - 3600,
          encodedAtSeconds: nowSeconds - 60,
        },
      })),
    );
    await store.writeWatermark(encoderId, nowSeconds);
  } finally {
    await store.close();
  }
  return { bundles, store: directory };
}
