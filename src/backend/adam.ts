// The Adam optimiser, which updates variables in place. The native backend makes one pass over
// parameter, gradient and both moments; other backends compute the same formula with tfjs ops. The
// moments are plain tensors, so that a checkpoint can hold them.

import { nativeAddon } from '../native/addon.ts';
import { NATIVE_BACKEND, type NativeBackend } from './native-backend.ts';
import { tf } from './tf.ts';

const BETA1 = 0.9;
/**
 * The decay rate of the second moment, as in SASRec and its successors. With 0.999, the second
 * moment of rarely read embedding rows would stay out of date for thousands of steps.
 */
const BETA2 = 0.98;
const EPSILON = 1e-8;

/**
 * The gradient of a table of which a step has read a few rows. Only these rows are updated ("lazy"
 * Adam): the moments of a row do not decay while no step reads it.
 */
export interface RowGradient {
  /** [R] rows of the table, each at most once. */
  readonly rows: Int32Array;
  /** [R, width] the gradient of each row. */
  readonly values: tf.Tensor;
}

/** The loss that a step minimises, and the table rows that it reads. */
export interface GradientTask {
  /**
   * Computes the loss. For a variable that `lookups` names, it reads the rows in `rows` instead of
   * the variable. It reads all other variables directly.
   */
  readonly loss: (rows: ReadonlyMap<string, tf.Tensor>) => tf.Scalar;
  /**
   * By variable name, the R rows of a table that the loss reads, each at most once. The gathered
   * rows [R, width] are leaves of the graph, so gradient and update have R rows, however long the
   * table is.
   */
  readonly lookups: ReadonlyMap<string, Int32Array>;
}

/**
 * Optimiser of a fixed set of named variables.
 *
 * @see Kingma and Ba, Adam: A Method for Stochastic Optimization, ICLR 2015.
 */
export class Adam {
  /** Moments by variable name; `m` and `v` have the shape of the variable. */
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
   * Takes the gradient of a loss and applies one step. A loss that is not finite changes nothing.
   *
   * @param prepare - makes the task. It and the loss run inside tf.tidy, before this returns its
   *   promise.
   * @param step - counts from 1.
   * @returns the loss before the update.
   */
  async minimise(prepare: () => GradientTask, learningRate: number, step: number): Promise<number> {
    let lookups: GradientTask['lookups'] = new Map();
    const leaves = new Map<string, tf.Tensor>(this.#variables);
    // tf.tidy cannot wait, so the loss is read after it: on a GPU reading is asynchronous.
    const { value, grads } = tf.tidy(() => {
      const task = prepare();
      lookups = task.lookups;
      const rows = new Map(
        [...lookups].map(([name, indices]) => [
          name,
          tf.gather(this.#variables.get(name)!, tf.tensor1d(indices, 'int32')),
        ]),
      );
      for (const [name, leaf] of rows) leaves.set(name, leaf);
      return tf.engine().gradients(() => task.loss(rows), [...leaves.values()], undefined, true);
    });
    try {
      const result = (await value.data())[0]!;
      if (!Number.isFinite(result)) return result;
      const gradients = new Map<string, tf.Tensor | RowGradient>();
      for (const [i, name] of [...leaves.keys()].entries()) {
        const values = grads[i];
        // tfjs returns no gradient for a variable that the loss does not depend on.
        if (values === undefined) continue;
        const indices = lookups.get(name);
        gradients.set(name, indices === undefined ? values : { rows: indices, values });
      }
      this.apply(gradients, learningRate, step);
      return result;
    } finally {
      tf.dispose([value, ...grads]);
    }
  }

  /**
   * Applies one step.
   *
   * @param gradients - by variable name. A variable or a row without a gradient keeps its value and
   *   its moments.
   * @param step - counts from 1, for the bias correction.
   */
  apply(
    gradients: ReadonlyMap<string, tf.Tensor | RowGradient>,
    learningRate: number,
    step: number,
  ): void {
    const update = tf.getBackend() === NATIVE_BACKEND ? updateInPlace : updateWithOps;
    for (const [name, gradient] of gradients) {
      const moments = this.moments.get(name)!;
      update({ variable: this.#variables.get(name)!, ...moments, gradient, learningRate, step });
    }
  }

  dispose(): void {
    for (const { m, v } of this.moments.values()) {
      m.dispose();
      v.dispose();
    }
  }
}

interface Update {
  readonly variable: tf.Variable;
  readonly m: tf.Variable;
  readonly v: tf.Variable;
  readonly gradient: tf.Tensor | RowGradient;
  readonly learningRate: number;
  readonly step: number;
}

function updateInPlace({ variable, m, v, gradient, learningRate, step }: Update): void {
  const backend: unknown = tf.backend();
  const floats = (tensor: tf.Tensor): Float32Array => (backend as NativeBackend).floats(tensor);
  const settings = [learningRate, BETA1, BETA2, EPSILON, step] as const;
  const { ops } = nativeAddon();
  if (gradient instanceof tf.Tensor)
    ops.adam(floats(variable), floats(gradient), floats(m), floats(v), ...settings);
  else
    ops.adamRows(
      floats(variable),
      floats(gradient.values),
      gradient.rows,
      variable.size / variable.shape[0],
      floats(m),
      floats(v),
      ...settings,
    );
}

function updateWithOps({ variable, m, v, gradient, learningRate, step }: Update): void {
  tf.tidy(() => {
    if (gradient instanceof tf.Tensor) {
      const next = formula(variable, m, v, gradient, learningRate, step);
      for (const [i, target] of [variable, m, v].entries()) target.assign(next[i]!);
      return;
    }
    const rows = tf.tensor1d(gradient.rows, 'int32');
    const [p, pm, pv] = [variable, m, v].map((table) => tf.gather(table, rows));
    const next = formula(p!, pm!, pv!, gradient.values, learningRate, step);
    for (const [i, table] of [variable, m, v].entries())
      table.assign(tf.tensorScatterUpdate(table, tf.expandDims(rows, 1), next[i]!));
  });
}

/** The value and both moments after one step. */
function formula(
  value: tf.Tensor,
  m: tf.Tensor,
  v: tf.Tensor,
  gradient: tf.Tensor,
  learningRate: number,
  step: number,
): [value: tf.Tensor, m: tf.Tensor, v: tf.Tensor] {
  const nextM = tf.add(tf.mul(m, BETA1), tf.mul(gradient, 1 - BETA1));
  const nextV = tf.add(tf.mul(v, BETA2), tf.mul(tf.square(gradient), 1 - BETA2));
  const mean = tf.div(nextM, 1 - BETA1 ** step);
  const deviation = tf.add(tf.sqrt(tf.div(nextV, 1 - BETA2 ** step)), EPSILON);
  return [tf.sub(value, tf.mul(tf.div(mean, deviation), learningRate)), nextM, nextV];
}
