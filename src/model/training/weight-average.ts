// The average of a run's weights over its last steps. It generalises better than the last weights,
// so it is validated and kept instead of them. The window of the average grows with the run, and
// the weights of the first steps lose their influence.

import { tf } from '../../backend/tf.ts';
import type { TwoTower } from '../network/two-tower.ts';

/**
 * Number of steps between two updates of the average. Weights of neighbouring steps differ little,
 * and each update costs a pass over the item table.
 */
const STRIDE = 8;

/**
 * Updates the averaged weights after a step.
 *
 * @param averaged - has the same shapes as `model`; changed in place.
 * @param share - mean age of the averaged weights, as a share of the steps so far; in (0, 0.5].
 * @param step - counts from 1.
 * @see Shamir and Zhang, Stochastic gradient descent for non-smooth optimization, ICML 2013:
 *   polynomial-decay averaging.
 */
export function averageWeights(
  averaged: TwoTower,
  model: TwoTower,
  share: number,
  step: number,
): void {
  if (step % STRIDE !== 0) return;
  const perStep = (1 / share - 1) / (step + 1 / share - 2);
  // The first update replaces the initial values.
  const rate = step === STRIDE ? 1 : 1 - (1 - perStep) ** STRIDE;
  tf.tidy(() => {
    for (const [name, mean] of averaged.variables) {
      const change = tf.sub(model.variables.get(name)!, mean);
      mean.assign(tf.add(mean, tf.mul(change, rate)));
    }
  });
}
