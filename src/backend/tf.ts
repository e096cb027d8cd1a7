// The one import of TensorFlow.js: tensors from tfjs-core, gradients of every op from the union package (its side effect
// registers them in tfjs's global registry; tfjs-core alone has none).

import '@tensorflow/tfjs';
import * as tf from '@tensorflow/tfjs-core';

/**
 * A copy of a tensor's values, which training then may change in place.
 *
 * The one way in which the model is read: a GPU's memory cannot be waited for synchronously.
 */
export async function valuesOf(tensor: tf.Tensor): Promise<Float32Array> {
  return (await tensor.data<'float32'>()).slice();
}

export { tf };
