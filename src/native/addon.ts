// Loads the native addon, in this one place. What it computes is in native/core.

import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { usableCpus } from '../platform/cpus.ts';
import { TandemError } from '../errors.ts';
import { packageRoot } from '../package-root.ts';
import { packageVersion } from '../platform/version.ts';
import type { ClusterIndexFactory } from './cluster-index.ts';
import type { EncoderWeights, NativeEncoder, StateEvents } from './encoder.ts';
import type { NativeExactIndex } from './exact-index.ts';
import { headClass, type HeadClass, type NativeHeadClass } from './head.ts';
import type { HnswIndexFactory } from './hnsw-index.ts';
import type { Isa, Precision } from './isa.ts';
import type { ItemTowerWeights, NativeItemTower } from './item-tower.ts';
import type { TensorOps } from './tensor-ops.ts';
import type { Ticket } from './ticket.ts';
import type { TrainingOps } from './training-ops.ts';

export interface NativeAddon {
  readonly version: string;
  readonly usearchVersion: string;
  /** The instruction sets that this CPU and operating system can run, slowest first. */
  readonly availableIsas: readonly Isa[];
  /** The default of constructors and `ops`: TANDEM_ISA, else the fastest available. */
  readonly defaultIsa: Isa;
  /**
   * Packs the weights for the tiles of the instruction set, or takes the head of a ticket. It keeps
   * nothing of `weights`. Weights of items are packed as one [N, F], or [N, D] if that would take
   * more than 64 MiB.
   *
   * @throws RangeError naming the field with a wrong length or row.
   */
  readonly Head: HeadClass;
  /**
   * Packs the weights, and the item tables as one [N, D] of projected inputs. It keeps nothing of
   * `weights`.
   *
   * @throws RangeError naming the field with a wrong length or row; Error with code ERR_NON_FINITE
   *   naming the field with NaN or Inf.
   */
  readonly Encoder: new (
    weights: EncoderWeights,
    isa?: Isa,
    precision?: Precision,
    stateRows?: StateEvents,
  ) => NativeEncoder;
  /**
   * Packs the weights. It keeps nothing of `weights`.
   *
   * @throws RangeError naming the field with a wrong length; Error with code ERR_NON_FINITE naming
   *   the field with NaN or Inf.
   */
  readonly ItemTower: new (weights: ItemTowerWeights, isa?: Isa) => NativeItemTower;
  /**
   * Makes an index that refers to `vectors` [N, D] without a copy. With a ticket, it is the index
   * of another thread over this thread's view of the same vectors, which must lie in shared memory.
   *
   * @throws Error with code ERR_NON_FINITE for a row that is NaN, infinite or zero.
   */
  readonly ExactIndex: new (
    vectors: Float32Array,
    dimensions: number | Ticket<NativeExactIndex>,
    isa?: Isa,
  ) => NativeExactIndex;
  readonly ClusterIndex: ClusterIndexFactory;
  readonly HnswIndex: HnswIndexFactory;
  /** Size of the thread pool: TANDEM_THREADS, else the CPUs that this process may use. */
  readonly threads: number;
  readonly ops: TensorOps;
  readonly training: TrainingOps;
}

/** The platforms that a release has a compiled addon for, as packages tandem-<platform>-gnu. */
const COMPILED = ['linux-x64', 'linux-arm64'];

let loaded: NativeAddon | undefined;

/**
 * The addon, from the build of a checkout or else from the package of the platform. It is loaded on
 * first use.
 *
 * @throws TandemError ERR_NATIVE_UNAVAILABLE with the places and the remedies.
 */
export function nativeAddon(): NativeAddon {
  if (loaded !== undefined) return loaded;
  const require = createRequire(import.meta.url);
  const built = join(packageRoot(), 'build', 'Release', 'tandem.node');
  const path = existsSync(built) ? built : `tandem-${platform()}-gnu/tandem.node`;
  try {
    const exported = require(path) as Omit<NativeAddon, 'Head' | 'threads'> & {
      readonly Head: NativeHeadClass;
      /** Returns the size of the pool, which TANDEM_THREADS may decide. */
      readonly setThreads: (threads: number) => number;
    };
    const { Head: nativeHead, setThreads, ...rest } = exported;
    loaded = { ...rest, Head: headClass(nativeHead), threads: setThreads(usableCpus()) };
  } catch (cause) {
    const [reason] = (cause instanceof Error ? cause.message : String(cause)).split('\n');
    throw new TandemError(
      'ERR_NATIVE_UNAVAILABLE',
      `Expected the native addon at ${built} or in the package of this platform, but loading ` +
        `${path} failed: ${reason!}. ${addonRemedy()}`,
      { cause, details: { path } },
    );
  }
  return loaded;
}

/** How to get the addon, in sentences. */
export function addonRemedy(): string {
  const tool = join(packageRoot(), 'tools', 'build-native.mjs');
  const build = `Compile it, which needs CMake and a C++17 compiler: node ${tool}`;
  if (!COMPILED.includes(platform())) return build;
  return (
    `With glibc, install it: npm install tandem-${platform()}-gnu@${packageVersion()}. ` +
    `Otherwise: ${build.replace(/^C/, 'c')}`
  );
}

function platform(): string {
  return `${process.platform}-${process.arch}`;
}
