// Loads the native addon, in this one place. What it computes is in native/core.

import { createRequire } from 'node:module';
import { join } from 'node:path';
import { TandemError } from '../errors.ts';
import { packageRoot } from '../package-root.ts';
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
  readonly ops: TensorOps;
  readonly training: TrainingOps;
}

let loaded: NativeAddon | undefined;

/**
 * The addon. It is loaded on first use.
 *
 * @throws TandemError ERR_NATIVE_UNAVAILABLE with the path and the command that builds it.
 */
export function nativeAddon(): NativeAddon {
  if (loaded !== undefined) return loaded;
  const path = join(packageRoot(), 'build', 'Release', 'tandem.node');
  try {
    const exported = createRequire(import.meta.url)(path) as Omit<NativeAddon, 'Head'> & {
      readonly Head: NativeHeadClass;
    };
    loaded = { ...exported, Head: headClass(exported.Head) };
  } catch (cause) {
    throw new TandemError(
      'ERR_NATIVE_UNAVAILABLE',
      `Expected the native addon at ${path}, but loading it failed: ${String(cause)}. ` +
        'Run "npm run build:native" (needs CMake and a C++17 compiler).',
      { cause, details: { path } },
    );
  }
  return loaded;
}
