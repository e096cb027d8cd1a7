// The one import of TensorFlow.js.

import * as tf from 'tandem-offline/tfjs';

/**
 * A copy of a tensor's values; the tensor may change afterwards.
 *
 * All model values are read this way, because the memory of a GPU can be read only asynchronously.
 */
export async function valuesOf(tensor: tf.Tensor): Promise<Float32Array> {
  return (await tensor.data<'float32'>()).slice();
}

export { tf };
