// Boosts of pairs for tests of losses: drawn, as the tensors that a loss takes, and as numbers.

import { tf } from '../../src/backend/tf.ts';
import type { ExampleBoosts } from '../../src/model/training/losses/examples.ts';
import type { Random } from '../../src/random.ts';
import type { Rows } from './f64.ts';

export interface DrawnBoosts {
  /** [1, pairs], an operand of assertComputes. */
  readonly values: Rows;
  readonly tensors: (values: tf.Tensor2D) => ExampleBoosts;
  /** That of an example and an item; 0 for most. */
  readonly of: (values: Rows, example: number, row: number) => number;
}

/** About every second pair of an example and an item, at least one. */
export function drawBoosts(random: Random, positives: Int32Array, items: number): DrawnBoosts {
  const places: number[] = [];
  for (let place = 0; place < positives.length * items; place++)
    if (place === 0 || random.uniform() < 0.5) places.push(place);
  const placeOf = (example: number, row: number): number => places.indexOf(example * items + row);
  return {
    values: [places.map(() => 2 * random.uniform())],
    tensors: (values) => {
      const flat: tf.Tensor1D = tf.squeeze(values, [0]);
      const own = Int32Array.from(positives, (row, e) => placeOf(e, row) + 1);
      return {
        pairs: {
          rows: Int32Array.from(places, (place) => Math.floor(place / items)),
          columns: Int32Array.from(places, (place) => place % items),
          values: flat,
        },
        ofPositives: tf.gather(tf.concat([tf.zeros([1]), flat]), tf.tensor1d(own, 'int32')),
      };
    },
    of: (values, example, row) => values[0]![placeOf(example, row)] ?? 0,
  };
}
