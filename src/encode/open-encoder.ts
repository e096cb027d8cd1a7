// Opens the engine that computes user states: the native addon, or the model on tfjs that training
// uses.

import { bundleHistoryEncoder } from '../bundle/weights/history-encoder.ts';
import type { Bundle } from '../bundle/load.ts';
import { TandemError } from '../errors.ts';
import type { HistoryBatch } from '../features/sequence.ts';
import type { BackendName } from '../model/backend-name.ts';
import type { Precision } from '../native/isa.ts';

/** Code that computes user states: the native addon, or the model on tfjs. */
export type EncodeEngine = 'native' | 'tfjs';

export interface EncoderOptions {
  readonly bundle: Bundle;
  /**
   * The engine that computes the states: `native` is the addon, `tfjs` is the model that training
   * uses, for comparisons and for GPUs. Default native.
   */
  readonly engine?: EncodeEngine;
  /** Precision of the native engine. Default f32. */
  readonly precision?: Precision;
  /** Backend of the tfjs engine. Default `native`. */
  readonly backend?: BackendName;
}

export interface OpenEncoder {
  /** Computes the state of each history, in the form that the bundle's head reads. */
  readonly encode: (batch: HistoryBatch) => Promise<Float32Array[]>;
  readonly dispose: () => void;
}

/**
 * Opens the encoder of a bundle; dispose() it.
 *
 * @throws TandemError ERR_INVALID_ARGUMENT for bf16 with engine tfjs, or a backend with engine
 *   native; ERR_BACKEND_UNAVAILABLE.
 */
export async function openEncoder({
  bundle,
  engine = 'native',
  precision,
  backend,
}: EncoderOptions): Promise<OpenEncoder> {
  if (engine === 'native') {
    if (backend !== undefined)
      throw new TandemError(
        'ERR_INVALID_ARGUMENT',
        `Expected engine tfjs with a backend, received engine native with backend ${backend}. ` +
          'Add --engine tfjs.',
      );
    const encoder = bundleHistoryEncoder(bundle, { ...(precision !== undefined && { precision }) });
    return {
      encode: (batch) => Promise.resolve(encoder.encode(batch)),
      dispose: () => undefined,
    };
  }
  if (precision === 'bf16')
    throw new TandemError(
      'ERR_INVALID_ARGUMENT',
      'Expected precision f32 for engine tfjs, received bf16. Choose the native engine for bf16.',
    );
  // Imported on demand, so that the native engine loads nothing of tfjs.
  const { loadBundleModel } = await import('../model/bundle-model.ts');
  const model = await loadBundleModel(bundle, backend);
  return {
    encode: (batch) => model.encodeHistories(batch),
    dispose: () => {
      model.dispose();
    },
  };
}
