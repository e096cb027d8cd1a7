// A request path whose states, head and index come from two trainings. It shows why versions must
// not be mixed; serving prevents it with the encoder id.

import { schemaHash } from '../features/schema.ts';
import { TandemError } from '../errors.ts';
import { canonicalJson } from '../json.ts';
import type { ScorableModel } from './model-scorer.ts';

/** The names of the models that the states, head and item vectors of a row come from. */
export interface Versions {
  readonly state: string;
  readonly head: string;
  readonly index: string;
}

/** A model whose parts come from several models. The parts are not copied. */
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

/** The six mixtures of two versions. The two unmixed models have rows of their own. */
export function mixtures(first: string, second: string): Versions[] {
  const names = [first, second];
  return names
    .flatMap((state) => names.flatMap((head) => names.map((index) => ({ state, head, index }))))
    .filter(({ state, head, index }) => state !== head || head !== index);
}

/**
 * Checks that the models are two trainings of one shape over the same features; parts of other
 * models would not fit together.
 *
 * @throws TandemError ERR_INVALID_ARGUMENT when they are not.
 */
export function requireTwoTrainings(
  models: readonly { readonly name: string; readonly model: ScorableModel }[],
): void {
  const shape = ({ model }: { readonly model: ScorableModel }): string =>
    `${schemaHash(model.schema)} ${canonicalJson(model.config)}`;
  if (models.length === 2 && shape(models[0]!) === shape(models[1]!)) return;
  const received = models.length === 2 ? 'two that differ' : String(models.length);
  throw new TandemError(
    'ERR_INVALID_ARGUMENT',
    'Expected two checkpoints of the same data and model settings for the skew matrix, ' +
      `received ${received}: ${models.map(({ name }) => name).join(', ')}. ` +
      'Train the same settings with another seed.',
  );
}
