// The part of the query tower that runs at every request: the context layer, the fusion of state
// and context, and the head. The history encoder runs earlier, in a batch or on fresh events.

import { tf } from '../../backend/tf.ts';
import type { ModelConfig } from '../../bundle/manifest.ts';
import type { HeadBatch } from '../../features/head-batch.ts';
import { subjectBags } from './bags.ts';
import { attendContext, type HistoryStates } from './context-attention.ts';
import {
  dense,
  dropout,
  unitRows,
  weightedBag,
  type TrainingNoise,
  type WeightOf,
} from './layers.ts';

/** Gives the input embeddings [B, D] of items in view, from their catalogue rows [B]. */
type SubjectInputs = (catalogueRows: Int32Array) => tf.Tensor2D;

/**
 * Query embeddings: u = normalise(Wo relu(Wh z + bh) + bo + Ws z). The input z is h for fusion
 * `none`, [h ; c ; stateAge] for `concat` and [a ; h ; c ; stateAge] for `attention`. Here h is the
 * state, c the context vector, and a the result of the attention of c over the history.
 *
 * @param weightOf - looks up the tensors `context.*` and `head.*`.
 * @param histories - hidden states, and which of them belong to the B requests.
 * @param batch - the contexts of the B requests; its states and sequences are not read.
 * @param subjectInputs - called only for a model with subjectItem.
 * @param noise - dropout of a training step; absent at inference.
 * @returns [B, D] unit rows.
 */
export function embedRequests(
  config: ModelConfig,
  weightOf: WeightOf,
  histories: HistoryStates,
  batch: HeadBatch,
  subjectInputs: SubjectInputs,
  noise?: TrainingNoise,
): tf.Tensor2D {
  const known = tf.tensor2d(
    Float32Array.from(histories.newest, (row) => (row < 0 ? 0 : 1)),
    [batch.count, 1],
  );
  // Row 0 is the cold-start vector.
  const state = tf.gather(
    tf.concat([weightOf('head.coldStart') as tf.Tensor2D, histories.hidden]),
    tf.tensor1d(
      histories.newest.map((row) => row + 1),
      'int32',
    ),
  );
  let fused = state;
  if (config.fusion !== 'none') {
    const context = dropout(
      contextVectors(config, weightOf, batch, subjectInputs),
      noise?.contextRate ?? 0,
      noise?.random,
    );
    const parts = [state, context, tf.tensor2d(maskedAges(batch), [batch.count, 1])];
    if (config.fusion === 'attention')
      parts.unshift(
        attendContext(histories, context, known, {
          heads: config.heads,
          query: weightOf('head.queryWeight'),
          key: weightOf('head.keyWeight'),
          value: weightOf('head.valueWeight'),
          output: weightOf('head.attentionOutputWeight'),
          coldStart: weightOf('head.coldStart'),
        }),
      );
    fused = tf.concat(parts, 1);
  }
  // No dropout on the linear path Ws z.
  const hidden = dense(
    dropout(fused, noise?.headRate ?? 0, noise?.random),
    weightOf('head.hiddenWeight'),
    weightOf('head.hiddenBias'),
    'relu',
  );
  const output = tf.add<tf.Tensor2D>(
    dense(hidden, weightOf('head.outputWeight'), weightOf('head.outputBias')),
    dense(fused, weightOf('head.skipWeight'), undefined),
  );
  return unitRows(output);
}

/**
 * The context layer: c = relu(Wc [bag(subject) ; age ; country ; gender ; item in view] + bc). The
 * item in view is an input only with subjectItem.
 *
 * @returns [B, F] the context vectors c.
 */
function contextVectors(
  { subjectItem }: ModelConfig,
  weightOf: WeightOf,
  batch: HeadBatch,
  subjectInputs: SubjectInputs,
): tf.Tensor2D {
  const { bags, empty } = subjectBags(batch);
  const subject = tf.add(
    weightedBag(weightOf('context.subjectTable'), bags),
    tf.mul(tf.tensor2d(empty, [batch.count, 1]), weightOf('context.noSubject')),
  );
  const demographic = (name: string, column: number): tf.Tensor =>
    tf.gather(
      weightOf(name),
      tf.tensor1d(
        Int32Array.from({ length: batch.count }, (_, i) => batch.demographics[3 * i + column]!),
        'int32',
      ),
    );
  const inputs = tf.concat(
    [
      subject,
      demographic('context.ageTable', 0),
      demographic('context.countryTable', 1),
      demographic('context.genderTable', 2),
      ...(subjectItem ? [itemsInView(batch, subjectInputs)] : []),
    ],
    1,
  ) as tf.Tensor2D;
  return dense(inputs, weightOf('context.contextWeight'), weightOf('context.contextBias'), 'relu');
}

/** Input embeddings of the items in view, [B, D]; zeros for requests without one. */
function itemsInView(batch: HeadBatch, subjectInputs: SubjectInputs): tf.Tensor {
  const rows = Int32Array.from({ length: batch.count }, (_, b) => batch.subjectItems?.[b] ?? -1);
  const present = Float32Array.from(rows, (row) => (row < 0 ? 0 : 1));
  return tf.mul(
    subjectInputs(rows.map((row) => Math.max(0, row))),
    tf.tensor2d(present, [batch.count, 1]),
  );
}

/** [B] state ages; 0 for requests without a state, whatever the batch holds there. */
function maskedAges(batch: HeadBatch): Float32Array {
  return batch.stateAge.map((age, i) => (batch.hasState[i] === 1 ? age : 0));
}
