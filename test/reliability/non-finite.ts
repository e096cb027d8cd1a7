// NaN, infinities and zero rows at the four gates where numbers come in: a bundle that is published, a bundle that is loaded,
// states that are written, requests. An index of 5,000 vectors with five NaN rows finds nearly nothing: one is too many.

import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadBundle } from '../../src/bundle/load.ts';
import { BUNDLE_FILES } from '../../src/bundle/manifest.ts';
import { publishBundle } from '../../src/bundle/publish.ts';
import { decodeSafetensors, encodeSafetensors } from '../../src/bundle/safetensors.ts';
import type { EncoderId, UserId } from '../../src/ids.ts';
import { Random } from '../../src/random.ts';
import { LmdbStore } from '../../src/store/lmdb-store.ts';
import { publishTinyBundle, tinyBundleInput } from '../support/tiny-bundle.ts';
import { ask } from './ask.ts';
import { replaceFile } from './edited-bundle.ts';
import type { Row } from './row.ts';
import { ServerChild } from './server-child.ts';

const TRIES_AT = { quick: 30, long: 2000 } as const;
const BAD = [Number.NaN, Infinity, -Infinity];
const ITEMS = 60;
const WIDTH = 16;

export const NON_FINITE: Row = {
  name: 'non-finite',
  target:
    'NaN, infinities, zero rows where a bundle is published or loaded, states are written, requests come: 0 admitted',
  run: async (scale, figures) => {
    const folder = mkdtempSync(join(tmpdir(), 'tandem-non-finite-'));
    const tries = TRIES_AT[scale];
    const random = new Random(3);
    const isRefused = async (action: () => Promise<unknown>, code: string): Promise<boolean> => {
      try {
        await action();
        return false;
      } catch (error) {
        if ((error as { code?: string }).code === code) return true;
        throw error;
      }
    };
    const gate = async (name: string, one: (n: number) => Promise<boolean>): Promise<void> => {
      figures.progress(name);
      let admitted = 0;
      for (let n = 0; n < tries; n++) if (!(await one(n))) admitted++;
      figures.atMost(`admitted of ${tries} at ${name}`, admitted, 0);
    };
    /** One value of a copy made bad, or the whole row zero. */
    const spoilt = (values: Float32Array, n: number): Float32Array => {
      const copy = values.slice();
      const at = random.integer(copy.length);
      if (n % 4 === 3) copy.fill(0, at - (at % WIDTH), at - (at % WIDTH) + WIDTH);
      else copy[at] = BAD[n % 4]!;
      return copy;
    };
    try {
      const input = await tinyBundleInput({ items: ITEMS, width: WIDTH });
      const names = [...input.tensors].flatMap(([name, { data }]) =>
        data.length > 0 ? [name] : [],
      );
      await gate('publishing vectors', (n) =>
        isRefused(
          () =>
            publishBundle({ ...input, vectors: spoilt(input.vectors, n) }, join(folder, 'never')),
          'ERR_NON_FINITE',
        ),
      );
      await gate('publishing weights', (n) => {
        const name = names[random.integer(names.length)]!;
        const tensor = input.tensors.get(name)!;
        const data = Float32Array.from(tensor.data);
        // A row of zero weights is a right row of weights.
        data[random.integer(data.length)] = BAD[n % 3]!;
        const tensors = new Map([...input.tensors, [name, { ...tensor, data }]]);
        return isRefused(
          () => publishBundle({ ...input, tensors }, join(folder, 'never')),
          'ERR_NON_FINITE',
        );
      });

      const bundles = join(folder, 'bundles');
      const { directory } = await publishTinyBundle(bundles, { items: ITEMS, width: WIDTH });
      const valid = readFileSync(join(directory, BUNDLE_FILES.vectors));
      const tensor = decodeSafetensors(valid, BUNDLE_FILES.vectors).tensors.get('vectors')!;
      await gate('loading vectors whose digests are right', async (n) => {
        const data = spoilt(tensor.data as Float32Array, n);
        const file = encodeSafetensors(new Map([['vectors', { ...tensor, data }]]));
        replaceFile(directory, 'vectors', file);
        return isRefused(() => loadBundle(directory), 'ERR_NON_FINITE');
      });
      replaceFile(directory, 'vectors', valid);
      await loadBundle(directory);

      const path = join(folder, 'store');
      const store = LmdbStore.open(path);
      try {
        const state = new Float32Array(WIDTH).fill(0.5);
        // A state is no direction: a row of zeros is a right one.
        await gate('writing states', (n) =>
          isRefused(
            () =>
              store.write('ab'.repeat(32) as EncoderId, [
                {
                  user: 'u' as UserId,
                  state: {
                    state: spoilt(state, n % 3),
                    ...{ dimensions: WIDTH, type: 'f32', lastEventSeconds: 1, encodedAtSeconds: 2 },
                  },
                },
              ]),
            'ERR_NON_FINITE',
          ),
        );
      } finally {
        await store.close();
      }

      const server = await ServerChild.start({ bundles, store: path });
      try {
        const places = [
          '"demographics":{"age":X}',
          '"subject":{"interests":[{"category":"books","confidence":X}]}',
          '"filter":{"min_price":X}',
          '"filter":{"max_price":X}',
          '"k":X',
        ];
        await gate('requests', async (n) => {
          const member = places[n % places.length]!.replace(
            'X',
            ['1e999', '-1e999', 'NaN', 'Infinity'][(n / places.length) & 3]!,
          );
          const body = `{"user":"u","surface":"related",${member}}`;
          return (await ask(server.port, 'POST', '/v1/candidates', body)).status === 400;
        });
        server.expectAlive();
      } finally {
        await server.end();
      }
    } finally {
      rmSync(folder, { recursive: true });
    }
  },
};
