// What Tandem needs of a machine. Each check says what it expected, what it found, and what to do.

import { existsSync, statSync, statfsSync } from 'node:fs';
import { availableParallelism, freemem, totalmem } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { BACKENDS, type BackendName } from '../backend/backends.ts';
import { bundleBytes, readManifest } from '../bundle/files.ts';
import { resolveBundle } from '../bundle/current.ts';
import type { BundleManifest } from '../bundle/manifest.ts';
import { verifyBundle } from '../bundle/verify.ts';
import { usableCpus } from '../platform/cpus.ts';
import { TandemError } from '../errors.ts';
import type { EncoderId } from '../ids.ts';
import { addonRemedy, nativeAddon } from '../native/addon.ts';
import { loadOffline } from '../platform/offline-package.ts';
import { packageRoot } from '../package-root.ts';
import { isRedis, openStore } from '../store/open-store.ts';
import { chooseTransport, UWS_REMEDY } from '../serve/web/choose-transport.ts';
import { withoutSecrets } from '../store/redis-location.ts';
import { packageVersion } from '../platform/version.ts';

export interface Check {
  readonly name: string;
  /** missing: a server cannot run; warning: a server runs less well; absent: optional. */
  readonly status: 'ok' | 'warning' | 'missing' | 'absent';
  readonly expected: string;
  readonly found: string;
  /** What to do, in a sentence. */
  readonly remedy?: string;
}

export interface Places {
  readonly bundles?: string | undefined;
  readonly store?: string | undefined;
}

const GIB = 2 ** 30;
const LEAST_NODE = [20, 17] as const;
/** The version that the native addon is linked against. */
const LEAST_GLIBC = [2, 34] as const;
/** During a swap, a server holds two bundles and the memory for loading one of them. */
const MEMORY_OF_A_BUNDLE = 3;
const LEAST_FREE_DISK = GIB;
/** Encoder id for reading a store when there is no bundle. */
const NO_ENCODER = '0'.repeat(64);
/** The clock may be this far behind the data that the server uses. */
const CLOCK_SKEW_SECONDS = 300;

/** Runs every check, in the order in which one sets up a machine. */
export async function runChecks({ bundles, store }: Places): Promise<Check[]> {
  const manifest = bundles === undefined ? undefined : await manifestAt(bundles);
  return [
    nodeVersion(),
    ...(process.platform === 'linux' ? [glibc()] : []),
    addon(),
    instructionSet(),
    cpus(),
    transport(),
    memory(manifest),
    ...(bundles === undefined ? [] : [disk(bundles)]),
    ...(store === undefined || isRedis(store) ? [] : [disk(store)]),
    clock(manifest),
    ...(bundles === undefined ? [] : [await bundle(bundles)]),
    ...(store === undefined ? [] : [await states(store, manifest)]),
    ...(await backends()),
  ];
}

function nodeVersion(): Check {
  return {
    name: 'node',
    status: atLeast(process.versions.node, LEAST_NODE) ? 'ok' : 'missing',
    expected: `Node ${LEAST_NODE.join('.')} or newer`,
    found: process.version,
    remedy: 'Install Node 24 or 22.',
  };
}

function glibc(): Check {
  const { header } = process.report.getReport() as {
    header?: { glibcVersionRuntime?: string };
  };
  const version = header?.glibcVersionRuntime;
  return {
    name: 'glibc',
    status: version !== undefined && atLeast(version, LEAST_GLIBC) ? 'ok' : 'warning',
    expected: `glibc ${LEAST_GLIBC.join('.')} or newer, for the native addon`,
    found: version ?? 'another C library',
    remedy: 'Use Debian 12, Ubuntu 22.04 or newer.',
  };
}

function addon(): Check {
  const expected = `the native addon, version ${packageVersion()}`;
  const remedy = addonRemedy();
  try {
    const { version } = nativeAddon();
    const status = version === packageVersion() ? 'ok' : 'missing';
    return { name: 'addon', status, expected, found: version, remedy };
  } catch (error) {
    return { name: 'addon', status: 'missing', expected, found: messageOf(error) };
  }
}

function instructionSet(): Check {
  const check = { name: 'instruction set', expected: 'kernels for this CPU beyond plain C++' };
  try {
    const { availableIsas, defaultIsa } = nativeAddon();
    return {
      ...check,
      status: defaultIsa === 'scalar' ? 'warning' : 'ok',
      found: `${defaultIsa} of ${availableIsas.join(', ')}`,
      remedy: 'Unset TANDEM_ISA, or use a CPU with AVX2 or NEON for the same answers in less time.',
    };
  } catch (error) {
    return { ...check, status: 'missing', found: messageOf(error) };
  }
}

function cpus(): Check {
  const [usable, visible] = [usableCpus(), availableParallelism()];
  const quota = usable < visible ? `, the CPU quota of the control group (${visible} visible)` : '';
  const check = {
    name: 'CPUs',
    expected: 'at most as many threads as CPUs that this process may use',
    remedy: 'Unset TANDEM_THREADS, or raise the CPU limit of the container.',
  };
  try {
    const { threads } = nativeAddon();
    const status = threads > usable ? 'warning' : 'ok';
    return { ...check, status, found: `${usable}${quota}; ${threads} threads for searches` };
  } catch {
    // The check of the addon reports the error.
    return { ...check, status: 'ok', found: `${usable}${quota}` };
  }
}

function transport(): Check {
  const check = { name: 'transport', expected: 'the native build of uWebSockets' };
  const { name, reason } = chooseTransport('auto');
  return {
    ...check,
    status: name === 'uws' ? 'ok' : 'warning',
    found: `${name}: ${reason}`,
    remedy: UWS_REMEDY,
  };
}

function memory(manifest: BundleManifest | undefined): Check {
  const needed = manifest === undefined ? GIB : MEMORY_OF_A_BUNDLE * bundleBytes(manifest);
  const most = Math.min(totalmem(), process.constrainedMemory() || Infinity);
  return {
    name: 'memory',
    status: most >= needed ? 'ok' : 'warning',
    expected:
      inGib(needed) + (manifest === undefined ? '' : `, ${MEMORY_OF_A_BUNDLE} times the bundle`),
    found: `${inGib(most)} for this process, ${inGib(freemem())} free`,
    remedy: 'Give the process more memory: a server holds two bundles during a swap.',
  };
}

function disk(path: string): Check {
  const { bavail, bsize } = statfsSync(nearestFolder(path));
  return {
    name: `disk of ${path}`,
    status: bavail * bsize >= LEAST_FREE_DISK ? 'ok' : 'warning',
    expected: `${inGib(LEAST_FREE_DISK)} free`,
    found: `${inGib(bavail * bsize)} free`,
    remedy: 'Free disk space, or delete old bundles with "tandem publish --keep 3".',
  };
}

function clock(manifest: BundleManifest | undefined): Check {
  const nowSeconds = Date.now() / 1000;
  const built = statSync(join(packageRoot(), 'package.json')).mtimeMs / 1000;
  const latest = Math.max(built, manifest?.dataUntilSeconds ?? -Infinity);
  return {
    name: 'clock',
    status: nowSeconds + CLOCK_SKEW_SECONDS >= latest ? 'ok' : 'warning',
    expected:
      `a time after ${isoOf(latest)}, the time of the ` +
      (latest === built ? 'installation' : "bundle's data"),
    found: isoOf(nowSeconds),
    remedy: 'Set the clock (NTP), because the ages of user states are measured with it.',
  };
}

async function bundle(path: string): Promise<Check> {
  const check = { name: 'bundle', expected: `a bundle at ${path} that passes "tandem verify"` };
  try {
    const { passed, bundleId, items } = await verifyBundle(path);
    return {
      ...check,
      status: passed ? 'ok' : 'missing',
      found: `${bundleId.slice(0, 16)} with ${items} items${passed ? '' : ', which fails'}`,
      remedy:
        'Run "tandem verify" for the differences. Publish the bundle again with this version.',
    };
  } catch (error) {
    return { ...check, status: 'missing', found: messageOf(error) };
  }
}

async function states(path: string, manifest: BundleManifest | undefined): Promise<Check> {
  const check = { name: 'store', expected: `a feature store at ${withoutSecrets(path)}` };
  try {
    const store = await openStore(path, { readOnly: true });
    try {
      const encoderId = (manifest?.encoderId ?? NO_ENCODER) as EncoderId;
      const count = await store.count(encoderId);
      if (manifest === undefined) return { ...check, status: 'ok', found: 'a store that answers' };
      return {
        ...check,
        expected: `${check.expected} with states of the bundle's encoder`,
        status: count > 0 ? 'ok' : 'warning',
        found: `${count} states`,
        remedy: 'Run "tandem encode users". Without states, every user is a cold start.',
      };
    } finally {
      await store.close();
    }
  } catch (error) {
    return { ...check, status: 'missing', found: messageOf(error) };
  }
}

/** The available tfjs backends. `native` is used unless --backend names another. */
async function backends(): Promise<Check[]> {
  const checks: Check[] = [];
  let probeBackend;
  try {
    ({ probeBackend } = await loadOffline('Training', () => import('../backend/select.ts')));
  } catch (error) {
    const expected = 'the package tandem-offline, for import, training, evaluation and charts';
    return [{ name: 'training', status: 'absent', expected, found: messageOf(error) }];
  }
  for (const name of BACKENDS) {
    const { device, reason } = await probeBackend(name);
    checks.push({
      name: `backend ${name}`,
      status: device === undefined ? 'absent' : 'ok',
      expected: PURPOSE[name],
      found: device === undefined ? reason! : `${device}: ${PURPOSE[name]}`,
    });
  }
  return checks;
}

const PURPOSE: Readonly<Record<BackendName, string>> = {
  native: 'the default of train and encode, on a CPU',
  tensorflow: 'an NVIDIA GPU with CUDA, for --backend tensorflow',
  webgpu: 'a GPU of any vendor, for --backend webgpu',
  cpu: "tfjs's own JavaScript, for comparison",
};

async function manifestAt(path: string): Promise<BundleManifest | undefined> {
  try {
    return await readManifest(resolveBundle(path));
  } catch (error) {
    // The check of the bundle reports the error.
    if (error instanceof TandemError) return undefined;
    throw error;
  }
}

function atLeast(version: string, [major, minor]: readonly [number, number]): boolean {
  const [ownMajor = 0, ownMinor = 0] = version.split('.').map(Number);
  return ownMajor > major || (ownMajor === major && ownMinor >= minor);
}

function nearestFolder(path: string): string {
  let folder = resolve(path);
  while (!existsSync(folder)) folder = dirname(folder);
  return folder;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function inGib(bytes: number): string {
  return `${(bytes / GIB).toFixed(1)} GiB`;
}

function isoOf(seconds: number): string {
  return new Date(seconds * 1000).toISOString();
}
