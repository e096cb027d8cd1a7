// Makes the bundles of the serve benchmark: clustered items, users whose states are near items, and
// a head that passes the state through, so that queries are near items as with a trained model. Two
// bundles have one encoder, so that they can be swapped. They are made once and kept in
// bench/cache.

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Tensor } from '../../src/bundle/safetensors.ts';
import { publishBundle } from '../../src/bundle/publish.ts';
import { writeFolderAtomic } from '../../src/files.ts';
import { readHistory } from '../../src/bundle/current.ts';
import { loadBundle } from '../../src/bundle/load.ts';
import type { EncoderId, UserId } from '../../src/ids.ts';
import { packageRoot } from '../../src/package-root.ts';
import { Random } from '../../src/random.ts';
import { LmdbStore } from '../../src/store/lmdb-store.ts';
import { tinyBundleInput, withGoldens } from '../../test/support/tiny-bundle.ts';
import { say } from '../harness.ts';
import { clusteredRows, queriesNear, WIDTH } from '../vectors.ts';

export const USER_COUNT = 10_000;
const HIDDEN_WIDTH = 128;
/** Raise this when the bundles change, so that an old cache is not used. */
const VERSION = 1;

export interface ServeSetup {
  /** Directory of bundles. */
  readonly bundles: string;
  readonly store: string;
  /**
   * Names of two bundles that differ in their heads; empty where a published directory was given.
   */
  readonly names: readonly string[];
}

export function userId(i: number): string {
  return `user-${i}`;
}

/** @param folder - the store is written there; its states are a minute old. */
export async function makeServeBundle(folder: string, items: number): Promise<ServeSetup> {
  const bundles = join(packageRoot(), 'bench', 'cache', `serve-${items}-v${VERSION}`);
  const vectors = clusteredRows(items, 1);
  if (!existsSync(bundles)) {
    say(`serve: making two bundles of ${items} items`);
    await writeFolderAtomic(bundles, (temporary) => publishTwo(temporary, vectors));
  }
  const store = join(folder, `store-${items}`);
  const { manifest } = await loadBundle(bundles);
  await writeStates(store, manifest.encoderId as EncoderId, queriesNear(vectors, USER_COUNT, 2));
  return { bundles, store, names: readHistory(bundles) };
}

async function publishTwo(bundles: string, vectors: Float32Array): Promise<void> {
  const items = vectors.length / WIDTH;
  const input = await tinyBundleInput({
    items,
    vectors,
    width: WIDTH,
    hiddenWidth: HIDDEN_WIDTH,
  });
  const tensors = new Map(input.tensors);
  const { shape } = tensors.get('head.skipWeight')!;
  const skip = new Float32Array(shape[0]! * shape[1]!);
  for (let i = 0; i < WIDTH; i++) skip[i * shape[1]! + i] = 1;
  tensors.set('head.skipWeight', { shape, data: skip });
  const { shape: hidden, data } = tensors.get('head.hiddenWeight')! as Tensor & {
    data: Float32Array;
  };
  for (const sign of [-1, 1]) {
    const changed = new Map(tensors);
    changed.set('head.hiddenWeight', { shape: hidden, data: data.map((value) => sign * value) });
    await publishBundle(withGoldens({ ...input, tensors: changed }, new Random(3)), bundles);
  }
}

async function writeStates(
  directory: string,
  encoderId: EncoderId,
  states: Float32Array,
): Promise<void> {
  const nowSeconds = Math.floor(Date.now() / 1000);
  const store = LmdbStore.open(directory);
  try {
    await store.write(
      encoderId,
      Array.from({ length: states.length / WIDTH }, (_, i) => ({
        user: userId(i) as UserId,
        state: {
          state: states.slice(i * WIDTH, (i + 1) * WIDTH),
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
}
