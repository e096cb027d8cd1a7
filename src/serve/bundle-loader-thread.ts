// The thread of bundle-loader.ts: reads, checks, replays goldens, and gives everything away.

import { parentPort, workerData } from 'node:worker_threads';
import { loadBundle, type Bundle } from '../bundle/load.ts';
import { replayGoldens } from '../bundle/verify.ts';
import { TandemError } from '../errors.ts';
import { nativeAddon } from '../native/binding.ts';
import type { BundleParts, LoaderAnswer } from './bundle-loader.ts';

async function load(directory: string): Promise<BundleParts> {
  const bundle = await loadBundle(directory);
  checkGoldens(bundle);
  const { manifest, schema, catalogue, vectors, indexBytes, goldens, headWeights } = bundle;
  return {
    directory: bundle.directory,
    manifest,
    schema,
    catalogue: catalogue.parts(),
    vectors,
    indexBytes,
    goldens,
    headWeights,
  };
}

/** A bundle that this build answers differently than training did would give plausible, wrong candidates. */
function checkGoldens(bundle: Bundle): void {
  const head = new (nativeAddon().Head)(bundle.headWeights);
  const { failures, isa } = replayGoldens(bundle, head);
  if (failures.length === 0) return;
  const { bundleId } = bundle.manifest;
  throw new TandemError(
    'ERR_BUNDLE_INVALID',
    `Expected bundle ${bundleId.slice(0, 12)} to give its golden answers on ISA ${isa}, but ${failures.length} differ; ${failures[0]!}. ` +
      'Run "tandem verify" for all of them, or publish the bundle again with this version.',
    { details: { bundleId, failures } },
  );
}

/** Every buffer behind the arrays of a value, once. */
function buffersOf(value: unknown, found: Set<ArrayBuffer> = new Set()): Set<ArrayBuffer> {
  if (ArrayBuffer.isView(value)) found.add(value.buffer as ArrayBuffer);
  else if (value !== null && typeof value === 'object')
    for (const member of Object.values(value)) buffersOf(member, found);
  return found;
}

load(workerData as string).then(
  (bundle) => {
    parentPort!.postMessage({ bundle } satisfies LoaderAnswer, [...buffersOf(bundle)]);
  },
  (error: unknown) => {
    const { code, message, details } =
      error instanceof TandemError
        ? error
        : { code: 'ERR_INTERNAL' as const, message: String(error), details: {} };
    parentPort!.postMessage({ error: { code, message, details } } satisfies LoaderAnswer);
  },
);
