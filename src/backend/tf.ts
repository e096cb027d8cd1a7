// The one import of TensorFlow.js: tensors from tfjs-core, gradients of every op from the union package (its side effect
// registers them in tfjs's global registry; tfjs-core alone has none).

import '@tensorflow/tfjs';
import * as tf from '@tensorflow/tfjs-core';

export { tf };
