// Reads the format of a bundle's user states from its manifest and two of its tensors.

import type { FrequencyWeights } from '../../features/item-frequency.ts';
import type { StateFormat } from '../../features/user-state.ts';
import type { Bundle } from '../load.ts';
import { BUNDLE_FILES } from '../manifest.ts';
import { expectTensor } from '../safetensors.ts';

/**
 * The format that makeUserState() needs.
 *
 * @throws TandemError ERR_BUNDLE_INVALID naming a tensor that is missing or of another shape.
 */
export function bundleStateFormat(bundle: Pick<Bundle, 'manifest' | 'tensors'>): StateFormat {
  const { model, stateType } = bundle.manifest;
  return {
    dimensions: model.embeddingWidth,
    type: stateType,
    maxHistory: model.maxHistory,
    frequency: model.itemFrequency === true ? frequencyWeights(bundle.tensors()) : undefined,
  };
}

function frequencyWeights(tensors: ReturnType<Bundle['tensors']>): FrequencyWeights {
  const get = (name: string): number =>
    expectTensor(tensors, name, Float32Array, [1], BUNDLE_FILES.weights)[0]!;
  return { logWeight: get('encoder.frequencyWeight'), logGain: get('encoder.frequencyGain') };
}
