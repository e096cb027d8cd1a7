// Bundles of several encoders over one catalogue, a store with states of each, and the answers of
// each bundle alone.

import { basename, join } from 'node:path';
import { loadBundle } from '../../src/bundle/load.ts';
import type { EncoderId, UserId } from '../../src/ids.ts';
import { Random } from '../../src/random.ts';
import { LmdbStore } from '../../src/store/lmdb-store.ts';
import { publishTinyBundle, tinyItem } from '../support/tiny-bundle.ts';
import { post } from './ask.ts';
import { ServerChild } from './server-child.ts';

export interface VersionsSize {
  readonly versions: number;
  readonly items: number;
  readonly users: number;
  readonly width?: number;
}

export interface Versions {
  /** Directory of bundles; the last version is current. */
  readonly bundles: string;
  readonly store: string;
  /** Directory names, one a version. */
  readonly names: readonly string[];
  readonly users: readonly string[];
}

/** The body that asks for a user's candidates. */
export function questionOf(user: string, k: number = 9): object {
  return { user, surface: 'related', subject: { item: tinyItem(4).id }, k };
}

/**
 * Publishes bundles and writes states. Of every `versions` + 2 users, one has a state of each
 * single encoder, one has states of all encoders, and one has none.
 *
 * @returns directories under `folder`.
 */
export async function makeVersions(folder: string, size: VersionsSize): Promise<Versions> {
  const { versions, items, width = 16 } = size;
  const bundles = join(folder, 'bundles');
  const directory = join(folder, 'store');
  const users = Array.from({ length: size.users }, (_, i) => `user-${i}`);
  const names: string[] = [];
  const random = new Random(7);
  const store = LmdbStore.open(directory);
  try {
    for (let version = 0; version < versions; version++) {
      const published = await publishTinyBundle(bundles, {
        items,
        width,
        hiddenWidth: 2 * width,
        seed: version + 1,
      });
      names.push(basename(published.directory));
      const { manifest } = await loadBundle(published.directory);
      const nowSeconds = Date.now() / 1000;
      const known = users.filter((_, i) => {
        const kind = i % (versions + 2);
        return kind === version || kind === versions;
      });
      await store.write(
        manifest.encoderId as EncoderId,
        known.map((user) => ({
          user: user as UserId,
          state: {
            state: Float32Array.from({ length: width }, () => random.normal()),
            dimensions: width,
            type: 'f32',
            lastEventSeconds: 1,
            encodedAtSeconds: nowSeconds,
          },
        })),
      );
    }
  } finally {
    await store.close();
  }
  return { bundles, store: directory, names, users };
}

/**
 * @returns candidates as JSON by `bundle_id user`, each from a server with one version that never
 * swaps.
 */
export async function answersAlone({
  bundles,
  store,
  names,
  users,
}: Versions): Promise<ReadonlyMap<string, string>> {
  const expected = new Map<string, string>();
  for (const name of names) {
    const server = await ServerChild.start({ bundles: join(bundles, name), store });
    try {
      for (const user of users) {
        const { body } = await post(server.port, '/v1/candidates', questionOf(user));
        expected.set(keyOf(body as CandidatesBody, user), candidatesOf(body as CandidatesBody));
      }
    } finally {
      await server.end();
    }
  }
  return expected;
}

export interface CandidatesBody {
  readonly bundle_id: string;
  readonly degraded: { readonly mode: string; readonly reason: string } | null;
  readonly candidates: readonly { readonly item: string; readonly score: number }[];
}

/**
 * Whether an answer equals, to the last digit, that of the bundle that it names alone; false for an
 * error.
 */
export function isAsAlone(
  expected: ReadonlyMap<string, string>,
  body: CandidatesBody | { readonly error: object },
  user: string,
): boolean {
  return 'candidates' in body && candidatesOf(body) === expected.get(keyOf(body, user));
}

function keyOf({ bundle_id: id }: CandidatesBody, user: string): string {
  return `${id} ${user}`;
}

export function candidatesOf({ candidates }: CandidatesBody): string {
  return JSON.stringify(candidates);
}
