// The thread of bundle-loader.ts: it reads and checks a bundle, replays its golden requests, makes
// an engine and shares it.

import { constants, setPriority } from 'node:os';
import { parentPort, workerData } from 'node:worker_threads';
import { ItemCatalogue, type CatalogueParts } from '../../bundle/catalogue.ts';
import { loadBundle, type Bundle } from '../../bundle/load.ts';
import { replayGoldens } from '../../bundle/verify.ts';
import { TandemError } from '../../errors.ts';
import { nativeAddon } from '../../native/addon.ts';
import type { LoaderAnswer, LoaderOrder } from './bundle-loader.ts';
import { Engine, type SharedEngine } from './engine.ts';

async function load({ directory, plan, behindRequests }: LoaderOrder): Promise<SharedEngine> {
  // On Linux this sets the priority of the thread; elsewhere it would be that of the whole server.
  if (behindRequests && process.platform === 'linux')
    setPriority(constants.priority.PRIORITY_BELOW_NORMAL);
  const bundle = await loadBundle(directory);
  checkGoldens(bundle);
  const catalogue = inSharedMemory(bundle.catalogue.parts()) as CatalogueParts;
  const engine = await Engine.open({ ...bundle, catalogue: ItemCatalogue.of(catalogue) }, plan);
  return engine.share();
}

/**
 * Replays the golden requests. A bundle that this build answers differently than training did would
 * give plausible but wrong candidates.
 */
function checkGoldens(bundle: Bundle): void {
  const head = new (nativeAddon().Head)(bundle.headWeights);
  const { failures, isa } = replayGoldens(bundle, head);
  if (failures.length === 0) return;
  const { bundleId } = bundle.manifest;
  throw new TandemError(
    'ERR_BUNDLE_INVALID',
    `Expected bundle ${bundleId.slice(0, 12)} to give its golden answers on ISA ${isa}, but ` +
      `${failures.length} differ; ${failures[0]!}. ` +
      'Run "tandem verify" for all of them, or publish the bundle again with this version.',
    { details: { bundleId, failures } },
  );
}

/**
 * Moves the arrays in a value to memory that threads share. Arrays of files are there already; the
 * others are copied.
 */
function inSharedMemory(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(inSharedMemory);
  if (ArrayBuffer.isView(value)) return sharedArray(value as Column);
  if (value === null || typeof value !== 'object') return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, member]) => [name, inSharedMemory(member)]),
  );
}

type Column = Float64Array | Float32Array | Int32Array | Uint8Array;

function sharedArray(array: Column): Column {
  if (array.buffer instanceof SharedArrayBuffer) return array;
  const Shared = array.constructor as new (buffer: SharedArrayBuffer) => Column;
  const shared = new Shared(new SharedArrayBuffer(array.byteLength));
  shared.set(array);
  return shared;
}

load(workerData as LoaderOrder).then(
  (engine) => {
    parentPort!.postMessage({ engine } satisfies LoaderAnswer);
  },
  (error: unknown) => {
    const { code, message, details } =
      error instanceof TandemError
        ? error
        : { code: 'ERR_INTERNAL' as const, message: String(error), details: {} };
    parentPort!.postMessage({ error: { code, message, details } } satisfies LoaderAnswer);
  },
);
