// Makes models/tiny, the trained bundle that tests load. Run it after a change of the bundle's
// format, of a feature or of what the model computes: npx tsx models/make-tiny.ts

import { cpSync, mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { verifyBundle } from '../src/bundle/verify.ts';
import { trainForProtocol } from '../src/experiment/training-recipe.ts';
import { importDataset } from '../src/data/import.ts';
import { readDataset } from '../src/data/read-dataset.ts';
import { oneShard } from '../src/data/shards.ts';
import { publish } from '../src/encode/publish.ts';
import { packageRoot } from '../src/package-root.ts';
import { makeShop, SHOP_TRAINING, writeShop } from '../test/support/shop.ts';

const MAX_BYTES = 200_000;
const target = join(packageRoot(), 'models', 'tiny');
const work = mkdtempSync(join(tmpdir(), 'tandem-tiny-'));
try {
  writeShop(join(work, 'raw'), makeShop({ items: 120, users: 240, seed: 7 }));
  await importDataset({
    manifestPath: join(work, 'raw', 'source.json'),
    outputDirectory: join(work, 'dataset'),
  });
  const { result } = await trainForProtocol({
    shards: oneShard(await readDataset(join(work, 'dataset'))),
    protocol: 'time',
    form: 'all',
    refit: false,
    config: SHOP_TRAINING,
    directory: join(work, 'run'),
  });
  const { bundleId, directory } = await publish(join(work, 'run'), join(work, 'bundles'));
  const bytes = readdirSync(directory)
    .map((name) => statSync(join(directory, name)).size)
    .reduce((sum, size) => sum + size, 0);
  if (bytes > MAX_BYTES) throw new Error(`Expected at most ${MAX_BYTES} bytes, received ${bytes}.`);
  rmSync(target, { recursive: true, force: true });
  cpSync(directory, target, { recursive: true });
  const { passed } = await verifyBundle(target);
  process.stdout.write(`${JSON.stringify({ bundleId, bytes, passed, ...result })}\n`);
} finally {
  rmSync(work, { recursive: true });
}
