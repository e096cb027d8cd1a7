// One request path put together from two trainings: states of one, head of another, index of a third. It shows why
// versions must not meet; serving refuses it by the encoder id.

import { schemaHash } from '../features/schema.ts';
import { TandemError } from '../errors.ts';
import { canonicalJson } from '../json.ts';
import type { ScorableModel } from './model-scorer.ts';

/** Names of the models that a row's states, head and item vectors come from. */
export interface Versions {
  readonly state: string;
  readonly head: string;
  readonly index: string;
}

/** A model whose parts are of several. The parts keep their own state; nothing is copied. */
export function mixVersions(
  state: ScorableModel,
  head: ScorableModel,
  index: ScorableModel,
): ScorableModel {
  return {
    config: head.config,
    schema: head.schema,
    encodeHistories: (batch) => state.encodeHistories(batch),
    frequencyWeights: () => state.frequencyWeights(),
    embedQueries: (batch) => head.embedQueries(batch),
    itemVectors: () => index.itemVectors(),
    scores: (queries, vectors) => head.scores(queries, vectors),
  };
}

/** The six ways to mix two versions; the two pure ones are rows of the models themselves. */
export function mixtures(first: string, second: string): Versions[] {
  const names = [first, second];
  return names
    .flatMap((state) => names.flatMap((head) => names.map((index) => ({ state, head, index }))))
    .filter(({ state, head, index }) => state !== head || head !== index);
}

/**
 * @throws TandemError ERR_INVALID_ARGUMENT unless these are two trainings of one shape over the same features: the parts
 *   of others would not even fit together.
 */
export function requireTwoTrainings(
  models: readonly { readonly name: string; readonly model: ScorableModel }[],
): void {
  const shape = ({ model }: { readonly model: ScorableModel }): string =>
    `${schemaHash(model.schema)} ${canonicalJson(model.config)}`;
  if (models.length === 2 && shape(models[0]!) === shape(models[1]!)) return;
  throw new TandemError(
    'ERR_INVALID_ARGUMENT',
    `Expected two checkpoints of the same data and model settings for the skew matrix, received ${models.length === 2 ? 'two that differ' : String(models.length)}: ${models.map(({ name }) => name).join(', ')}. Train the same settings with another seed.`,
  );
}
