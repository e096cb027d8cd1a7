// The history encoder of a bundle, natively: what the daily batch runs on and a server can re-encode a user with. No tfjs.

import type { CompactSchema } from '../../features/schema.ts';
import type { HistoryBatch } from '../../features/sequence.ts';
import { nativeAddon } from '../../native/addon.ts';
import type { EncoderWeights, NativeEncoder, StateEvents } from '../../native/encoder.ts';
import type { Precision, Isa } from '../../native/isa.ts';
import { encoderWeights } from './encoder-weights.ts';
import { catalogueItemFeatures } from './item-features.ts';
import type { Bundle } from '../load.ts';
import { stateRows } from '../manifest.ts';

export interface HistoryEncoderOptions {
  /** `bf16` is faster where the CPU has instructions for it, and a little less exact. Default f32. */
  readonly precision?: Precision;
  readonly isa?: Isa;
}

/** The same function as TwoTower.encodeHistories, to 1e-4 of a state's largest value in f32. */
export class HistoryEncoder {
  /** D. */
  readonly embeddingWidth: number;
  /** T: longest history that `encode` takes. */
  readonly maxHistory: number;
  readonly #stateRows: StateEvents;
  readonly #native: NativeEncoder;

  /**
   * @param stateRows - which rows a state has.
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
   * User states, on all threads of the addon's pool while the caller waits: about a quarter of a millisecond for one
   * user of 100 events.
   *
   * @param batch - items are catalogue rows.
   * @returns for each history its newest event's state [1, D], or those of all events [L, D], oldest first; an empty
   *   history has an empty state.
   * @throws RangeError naming what is out of range; ERR_NON_FINITE naming the first user without a finite state.
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

/** The history encoder of a bundle. @throws TandemError ERR_BUNDLE_INVALID; what the constructor throws. */
export function bundleHistoryEncoder(
  bundle: Pick<Bundle, 'manifest' | 'catalogue' | 'tensors'> & { readonly schema: CompactSchema },
  options: HistoryEncoderOptions = {},
): HistoryEncoder {
  const { manifest, schema, catalogue } = bundle;
  const items = catalogueItemFeatures(schema, catalogue);
  return new HistoryEncoder(
    encoderWeights(bundle.tensors(), manifest.model, schema, items),
    stateRows(manifest.model) === 1 ? 'newest' : 'all',
    options,
  );
}
