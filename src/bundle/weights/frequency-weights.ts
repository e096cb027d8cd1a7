// What item frequency is worth under a bundle's encoder: two of its tensors.

import type { FrequencyWeights } from '../../features/item-frequency.ts';
import type { Bundle } from '../load.ts';
import { BUNDLE_FILES } from '../manifest.ts';
import { expectTensor } from '../safetensors.ts';

/**
 * The numbers of the boost; undefined where the model has none.
 *
 * @throws TandemError ERR_BUNDLE_INVALID naming a tensor that is missing or of another shape.
 */
export function frequencyWeights({
  manifest,
  tensors,
}: Pick<Bundle, 'manifest' | 'tensors'>): FrequencyWeights | undefined {
  if (manifest.model.itemFrequency !== true) return undefined;
  const weights = tensors();
  const get = (name: string): number =>
    expectTensor(weights, name, Float32Array, [1], BUNDLE_FILES.weights)[0]!;
  return { logWeight: get('encoder.frequencyWeight'), logGain: get('encoder.frequencyGain') };
}
