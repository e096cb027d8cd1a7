// tau, the number that scores are divided by: fixed, or learned as ln tau = ln low + sigmoid(x) (ln high - ln low), which
// keeps it within its bounds at any x. A learned tau is state of the training run; scores are served without it.

import { tf } from '../../../backend/tf.ts';
import { TEMPERATURE_BOUNDS } from '../../train-config.ts';

const { low, high } = TEMPERATURE_BOUNDS;
const LOG_RANGE = Math.log(high / low);

/** The variable x of a learned tau, [1]. @param temperature - where tau starts, strictly within the bounds. */
export function temperatureVariable(temperature: number): tf.Variable {
  const share = Math.log(temperature / low) / LOG_RANGE;
  return tf.tidy(() => tf.variable(tf.tensor1d([Math.log(share / (1 - share))])));
}

/** 1 / tau of that variable, [1]. */
export function inverseTemperature(variable: tf.Tensor): tf.Tensor {
  return tf.div(1 / low, tf.exp(tf.mul(tf.sigmoid(variable), LOG_RANGE)));
}
