// The history encoder of a bundle on the native addon, without tfjs: for the daily batch and for
// fresh events on a server.

import type { CompactSchema } from '../../features/schema.ts';
import type { HistoryBatch } from '../../features/sequence.ts';
import { nativeAddon } from '../../native/addon.ts';
import type { EncoderWeights, NativeEncoder, StateEvents } from '../../native/encoder.ts';
import type { Precision, Isa } from '../../native/isa.ts';
import { encoderWeights } from './encoder-weights.ts';
import { catalogueItemFeatures } from './item-features.ts';
import type { Bundle } from '../load.ts';
import { maxStateRows } from '../manifest.ts';

export interface HistoryEncoderOptions {
  /** `bf16` is faster on a CPU with instructions for it, and slightly less exact. Default f32. */
  readonly precision?: Precision;
  readonly isa?: Isa;
}

/**
 * Computes the same function as TwoTower.encodeHistories. With f32, the difference is at most 1e-4
 * of a state's largest value.
 */
export class HistoryEncoder {
  /** D. */
  readonly embeddingWidth: number;
  /** T: longest history that `encode` accepts. */
  readonly maxHistory: number;
  readonly #stateRows: StateEvents;
  readonly #native: NativeEncoder;

  /**
   * @param stateRows - which events have a row in a state.
   * @throws RangeError or ERR_NON_FINITE naming the weight that is wrong.
   */
  constructor(
    weights: EncoderWeights,
    stateRows: StateEvents,
    options: HistoryEncoderOptions = {},
  ) {
    this.embeddingWidth = weights.embeddingWidth;
    this.maxHistory = weights.maxHistory;
    this.#stateRows = stateRows;
    this.#native = new (nativeAddon().Encoder)(weights, options.isa, options.precision, stateRows);
  }

  /**
   * Encodes histories on all threads of the addon's pool, while the caller waits: about 0.25 ms for
   * a user of 100 events.
   *
   * @param batch - items are catalogue rows.
   * @returns the state of each history: [1, D] of the newest event or [L, D] of all events, oldest
   *   first. An empty history has an empty state.
   * @throws RangeError naming the value that is out of range; ERR_NON_FINITE naming the first user
   *   whose state is not finite.
   */
  encode(batch: HistoryBatch): Float32Array[] {
    const { embeddingWidth: width } = this;
    const { offsets } = batch;
    const all = this.#stateRows === 'all';
    const count = offsets.length - 1;
    const out = new Float32Array((all ? offsets[count]! : count) * width);
    this.#native.encode(batch, out);
    return Array.from({ length: count }, (_, b) => {
      const events = offsets[b + 1]! - offsets[b]!;
      const begin = all ? offsets[b]! : b;
      const rows = all ? events : Math.min(1, events);
      return out.subarray(begin * width, (begin + rows) * width);
    });
  }
}

/**
 * Makes the history encoder of a bundle.
 *
 * @throws TandemError ERR_BUNDLE_INVALID; what the constructor throws.
 */
export function bundleHistoryEncoder(
  bundle: Pick<Bundle, 'manifest' | 'catalogue' | 'tensors'> & { readonly schema: CompactSchema },
  options: HistoryEncoderOptions = {},
): HistoryEncoder {
  const { manifest, schema, catalogue } = bundle;
  const items = catalogueItemFeatures(schema, catalogue);
  return new HistoryEncoder(
    encoderWeights(bundle.tensors(), manifest.model, schema, items),
    maxStateRows(manifest.model) === 1 ? 'newest' : 'all',
    options,
  );
}
