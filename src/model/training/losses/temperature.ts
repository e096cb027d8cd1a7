// The learned temperature tau, which divides the scores: ln tau = ln low + sigmoid(x) (ln high - ln
// low). This keeps tau within its bounds for any x. A learned tau is part of the training run only;
// serving does not need it.

import { tf } from '../../../backend/tf.ts';
import { TEMPERATURE_BOUNDS } from '../../train-config.ts';

const { low, high } = TEMPERATURE_BOUNDS;
const LOG_RANGE = Math.log(high / low);

/**
 * The variable x of a learned tau.
 *
 * @param temperature - the first tau, strictly within the bounds.
 * @returns [1].
 */
export function temperatureVariable(temperature: number): tf.Variable {
  const share = Math.log(temperature / low) / LOG_RANGE;
  return tf.tidy(() => tf.variable(tf.tensor1d([Math.log(share / (1 - share))])));
}

/** Computes 1 / tau [1] from the variable x [1]. */
export function inverseTemperature(variable: tf.Tensor): tf.Tensor {
  return tf.div(1 / low, tf.exp(tf.mul(tf.sigmoid(variable), LOG_RANGE)));
}
