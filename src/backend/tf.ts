// The one import of TensorFlow.js. Tensors come from tfjs-core, gradients from the union package:
// its side effect registers them in tfjs's global registry, and tfjs-core alone has none.

import '@tensorflow/tfjs';
import * as tf from '@tensorflow/tfjs-core';

/**
 * A copy of a tensor's values; the tensor may change afterwards.
 *
 * All model values are read this way, because the memory of a GPU can be read only asynchronously.
 */
export async function valuesOf(tensor: tf.Tensor): Promise<Float32Array> {
  return (await tensor.data<'float32'>()).slice();
}

export { tf };
