// NaN, infinities and zero rows at the places where numbers come in: publishing a bundle, loading a
// bundle, writing states, requests. An index of 5,000 vectors with five NaN rows finds almost
// nothing, so one such row is too many.

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
  fault: 'NaN, infinities and rows of zeros where numbers come in',
  method:
    'One value is replaced by NaN or an infinity, or a whole row by zeros where that is wrong: ' +
    'in vectors and weights that are published, in vectors that are loaded, in states that are ' +
    'written, in requests.',
  targets: [
    'Each of 2,000 attempts at each place (quick form: 30) is refused with the right error.',
  ],
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
    const check = async (name: string, one: (n: number) => Promise<boolean>): Promise<void> => {
      figures.progress(name);
      let accepted = 0;
      for (let n = 0; n < tries; n++) if (!(await one(n))) accepted++;
      figures.atMost(`accepted: ${name}`, accepted, 0);
    };
    /** A copy with one value that is not finite, or with one row of zeros. */
    const spoilt = (values: Float32Array, n: number): Float32Array => {
      const copy = values.slice();
      const at = random.integer(copy.length);
      if (n % 4 === 3) copy.fill(0, at - (at % WIDTH), at - (at % WIDTH) + WIDTH);
      else copy[at] = BAD[n % 4]!;
      return copy;
    };
    figures.report('attempts at each place', tries);
    try {
      const input = await tinyBundleInput({ items: ITEMS, width: WIDTH });
      const names = [...input.tensors].flatMap(([name, { data }]) =>
        data.length > 0 ? [name] : [],
      );
      await check('vectors at publishing', (n) =>
        isRefused(
          () =>
            publishBundle({ ...input, vectors: spoilt(input.vectors, n) }, join(folder, 'never')),
          'ERR_NON_FINITE',
        ),
      );
      await check('weights at publishing', (n) => {
        const name = names[random.integer(names.length)]!;
        const tensor = input.tensors.get(name)!;
        const data = Float32Array.from(tensor.data);
        // Weights may have rows of zeros.
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
      await check('vectors at loading, with matching digests', async (n) => {
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
        // A state need not have a direction, so a row of zeros is valid.
        await check('states at writing', (n) =>
          isRefused(
            () =>
              store.write('ab'.repeat(32) as EncoderId, [
                {
                  user: 'u' as UserId,
                  state: {
                    state: spoilt(state, n % 3),
                    dimensions: WIDTH,
                    type: 'f32',
                    lastEventSeconds: 1,
                    encodedAtSeconds: 2,
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
        await check('numbers in requests', async (n) => {
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
