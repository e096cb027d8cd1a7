// The history encoder of a bundle, natively: what the daily batch runs on and a server can re-encode a user with. No tfjs.

import type { HistoryBatch } from '../features/sequence.ts';
import {
  nativeAddon,
  type Precision,
  type EncoderWeights,
  type Isa,
  type NativeEncoder,
  type RaggedHistories,
  type StateRows,
} from '../native/binding.ts';
import { encoderWeights } from './encoder-weights.ts';
import { catalogueItemFeatures } from './item-features.ts';
import type { Bundle } from './load.ts';
import { stateRows } from './manifest.ts';

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
  readonly #stateRows: StateRows;
  readonly #native: NativeEncoder;

  /**
   * @param stateRows - which rows a state has.
   * @throws RangeError or ERR_NON_FINITE naming the weight that is wrong.
   */
  constructor(weights: EncoderWeights, stateRows: StateRows, options: HistoryEncoderOptions = {}) {
    this.embeddingWidth = weights.embeddingWidth;
    this.maxHistory = weights.maxHistory;
    this.#stateRows = stateRows;
    this.#native = new (nativeAddon().Encoder)(weights, options.isa, options.precision, stateRows);
  }

  /**
   * User states, on all threads of the addon's pool while the caller waits: about a quarter of a millisecond for one
   * user of 100 events.
   *
   * @param batch - items are catalogue slots + 1.
   * @returns for each history its newest event's state [1, D], or those of all events [L, D], oldest first; an empty
   *   history has an empty state.
   * @throws RangeError naming what is out of range; ERR_NON_FINITE naming the first user without a finite state.
   */
  encode(batch: HistoryBatch): Float32Array[] {
    const { embeddingWidth: width } = this;
    const histories = ragged(batch);
    const all = this.#stateRows === 'all';
    const out = new Float32Array((all ? histories.items.length : batch.count) * width);
    this.#native.encode(histories, out);
    return Array.from(batch.lengths, (events, b) => {
      const begin = all ? histories.offsets[b]! : b;
      const rows = all ? events : Math.min(1, events);
      return out.subarray(begin * width, (begin + rows) * width);
    });
  }
}

/** The history encoder of a bundle. @throws TandemError ERR_BUNDLE_INVALID; what the constructor throws. */
export function bundleHistoryEncoder(
  bundle: Bundle,
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

/** The events of a left-padded batch, one user after the other. */
function ragged(batch: HistoryBatch): RaggedHistories {
  const { count, length, lengths } = batch;
  const offsets = new Int32Array(count + 1);
  for (let b = 0; b < count; b++) offsets[b + 1] = offsets[b]! + lengths[b]!;
  const total = offsets[count]!;
  const items = new Int32Array(total);
  const actions = new Int32Array(total);
  const gaps = new Int32Array(total);
  for (let b = 0; b < count; b++) {
    const begin = (b + 1) * length - lengths[b]!;
    const end = (b + 1) * length;
    const to = offsets[b]!;
    for (let i = begin; i < end; i++) items[to + i - begin] = batch.items[i]! - 1;
    actions.set(batch.actions.subarray(begin, end), to);
    gaps.set(batch.gaps.subarray(begin, end), to);
  }
  return { offsets, items, actions, gaps };
}
