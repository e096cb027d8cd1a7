// Draws history boosts for tests of losses, and gives them as numbers and as the tensors that a
// loss takes.

import { tf } from '../../src/backend/tf.ts';
import type { ExampleBoosts } from '../../src/model/training/losses/examples.ts';
import type { Random } from '../../src/random.ts';
import type { Rows } from './f64.ts';

export interface DrawnBoosts {
  /** [1, pairs], an operand of assertComputes. */
  readonly values: Rows;
  readonly tensors: (values: tf.Tensor2D) => ExampleBoosts;
  /** The boost of an example and an item; 0 for pairs without a boost. */
  readonly of: (values: Rows, example: number, row: number) => number;
}

/** Draws a boost for about every second pair of an example and an item, at least for one. */
export function drawBoosts(random: Random, positives: Int32Array, items: number): DrawnBoosts {
  const pairs: number[] = [];
  for (let pair = 0; pair < positives.length * items; pair++)
    if (pair === 0 || random.uniform() < 0.5) pairs.push(pair);
  const indexOf = (example: number, row: number): number => pairs.indexOf(example * items + row);
  return {
    values: [pairs.map(() => 2 * random.uniform())],
    tensors: (values) => {
      const flat: tf.Tensor1D = tf.squeeze(values, [0]);
      const own = Int32Array.from(positives, (row, e) => indexOf(e, row) + 1);
      return {
        pairs: {
          rows: Int32Array.from(pairs, (pair) => Math.floor(pair / items)),
          columns: Int32Array.from(pairs, (pair) => pair % items),
          values: flat,
        },
        ofPositives: tf.gather(tf.concat([tf.zeros([1]), flat]), tf.tensor1d(own, 'int32')),
      };
    },
    of: (values, example, row) => values[0]![indexOf(example, row)] ?? 0,
  };
}
