// Adam, in place: one pass over parameter, gradient and both moments on the native backend, the same formula in tfjs ops
// elsewhere. Moments are plain tensors, so that a checkpoint can hold them.

import { nativeAddon } from '../native/binding.ts';
import { NATIVE_BACKEND, type NativeBackend } from './native-backend.ts';
import { tf } from './tf.ts';

const BETA1 = 0.9;
/** As in SASRec and its successors: the second moment of sparse embeddings must not go stale for thousands of steps. */
const BETA2 = 0.98;
const EPSILON = 1e-8;

/** Optimiser of a fixed set of named variables. @see Kingma and Ba, Adam, ICLR 2015. */
export class Adam {
  /** Moments by variable name, `m` and `v` of its shape. */
  readonly moments: ReadonlyMap<string, { readonly m: tf.Variable; readonly v: tf.Variable }>;
  readonly #variables: ReadonlyMap<string, tf.Variable>;

  constructor(variables: ReadonlyMap<string, tf.Variable>) {
    this.#variables = variables;
    this.moments = new Map(
      [...variables].map(([name, variable]) => [
        name,
        {
          m: tf.tidy(() => tf.variable(tf.zeros(variable.shape), false)),
          v: tf.tidy(() => tf.variable(tf.zeros(variable.shape), false)),
        },
      ]),
    );
  }

  /**
   * Applies one step.
   *
   * @param gradients - by variable name; a variable without one keeps its value and moments.
   * @param step - counts from 1, for the bias correction.
   */
  apply(gradients: ReadonlyMap<string, tf.Tensor>, learningRate: number, step: number): void {
    const native = tf.getBackend() === NATIVE_BACKEND;
    for (const [name, gradient] of gradients) {
      const variable = this.#variables.get(name)!;
      const { m, v } = this.moments.get(name)!;
      if (native)
        nativeAddon().ops.adam(
          valuesInPlace(variable),
          valuesInPlace(gradient),
          valuesInPlace(m),
          valuesInPlace(v),
          learningRate,
          BETA1,
          BETA2,
          EPSILON,
          step,
        );
      else
        tf.tidy(() => {
          applyWithOps(variable, gradient, m, v, learningRate, step);
        });
    }
  }

  dispose(): void {
    for (const { m, v } of this.moments.values()) {
      m.dispose();
      v.dispose();
    }
  }
}

function applyWithOps(
  variable: tf.Variable,
  gradient: tf.Tensor,
  m: tf.Variable,
  v: tf.Variable,
  learningRate: number,
  step: number,
): void {
  m.assign(tf.add(tf.mul(m, BETA1), tf.mul(gradient, 1 - BETA1)));
  v.assign(tf.add(tf.mul(v, BETA2), tf.mul(tf.square(gradient), 1 - BETA2)));
  const mean = tf.div(m, 1 - BETA1 ** step);
  const deviation = tf.add(tf.sqrt(tf.div(v, 1 - BETA2 ** step)), EPSILON);
  variable.assign(tf.sub(variable, tf.mul(tf.div(mean, deviation), learningRate)));
}

/** The typed array behind a tensor of the native backend. */
function valuesInPlace(tensor: tf.Tensor): Float32Array {
  const backend: unknown = tf.backend();
  return (backend as NativeBackend).data.get(tensor.dataId).values as Float32Array;
}
