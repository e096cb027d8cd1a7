// A warm start: a run begins with the weights of a finished one, carried by name into the tables of its own data. This file
// decides what may differ between the two; row-maps.ts which rows are the same.

import { maxStateRows, type ModelConfig } from '../../bundle/manifest.ts';
import { TandemError } from '../../errors.ts';
import type { FeatureSchema } from '../../features/schema.ts';
import { firstDifference } from '../../json.ts';
import {
  loadCheckpoint,
  runDigest,
  type Checkpoint,
  type RunSettings,
  type StartIdentity,
} from './checkpoint.ts';
import { initialWeights, type NewWeights } from '../network/initial-weights.ts';
import { rowMaps } from '../network/row-maps.ts';
import type { WeightMap } from '../network/two-tower.ts';
import { tensorSpecs } from '../network/weights.ts';

export interface WarmStart {
  /** A finished run. */
  readonly directory: string;
  /**
   * Trains context layer and head alone. What encoderId and itemTowerId cover stays as it is, byte for byte, so the states
   * and item vectors of the start stay valid; the schema must be the start's.
   */
  readonly headOnly: boolean;
}

/** The run that begins. */
export interface NewRun {
  readonly settings: Omit<RunSettings, 'start'>;
  readonly schema: FeatureSchema;
  /** Time of the oldest event that it does not train on. */
  readonly heldOutFrom: number;
  /** Times are times, not positions. */
  readonly hasTime: boolean;
}

export interface OpenStart {
  readonly identity: StartIdentity;
  readonly checkpoint: Checkpoint;
}

/** A fusion reads what those before it read, and more. */
const FUSIONS: readonly ModelConfig['fusion'][] = ['none', 'concat', 'attention'];
/** Tensors that read [h ; c ; age]: fusion attention puts D columns of its own before them. */
const FUSED_READERS: readonly string[] = ['head.hiddenWeight', 'head.skipWeight'];

/**
 * Reads the run to start from, and refuses one that this run cannot start from.
 *
 * @throws TandemError ERR_CHECKPOINT_INVALID when there is no finished run, or it has other layers, has seen events that
 *   this run holds out, or, for headOnly, has another schema or would get other states.
 */
export function openStart({ directory, headOnly }: WarmStart, run: NewRun): OpenStart {
  const checkpoint = loadCheckpoint(directory);
  refuseOtherLayers(checkpoint, run.settings.config.model);
  refuseSeenAnswers(checkpoint, run);
  if (headOnly) refuseOtherSpace(checkpoint, run);
  return { checkpoint, identity: { digest: runDigest(directory), headOnly } };
}

/**
 * First weights of a run that starts from another one: rows and tensors of the same meaning as they are there, new ones as
 * drawn.
 *
 * A new item begins with a small row of its own: what its categories, advertiser and price have learned makes nearly all of
 * its input. Drawn rows depend on the start, too: with the run's seed alone a new row would begin where the row in its place
 * once began, which may belong to an item that has not moved since.
 */
export function startingWeights(
  { checkpoint, identity }: OpenStart,
  model: ModelConfig,
  schema: FeatureSchema,
  itemIds: readonly string[],
  seed: number,
): NewWeights {
  const weights = initialWeights(
    tensorSpecs(model, schema, itemIds.length),
    seed ^ Number.parseInt(identity.digest.slice(0, 8), 16),
  );
  const old = checkpoint.settings.config.model;
  const rows = rowMaps(
    { schema: checkpoint.schema, itemIds: checkpoint.catalogue.ids.all() },
    { schema, itemIds },
  );
  const attended =
    model.fusion === 'attention' && old.fusion !== 'attention' ? model.embeddingWidth : 0;
  for (const [name, tensor] of weights) {
    const source = checkpoint.weights.get(name);
    // A richer fusion has tensors that the start lacks.
    if (source !== undefined)
      copyRows(source, tensor, rows.get(name), FUSED_READERS.includes(name) ? attended : 0);
  }
  return weights;
}

type Tensor = WeightMap extends ReadonlyMap<string, infer T> ? T : never;

/**
 * Copies rows into `to`, from its column `column` on; a shorter row leaves the columns behind it as they are.
 *
 * @param rows - [rows of `to`] rows of `from`, -1 for none; the same row where absent.
 */
function copyRows(from: Tensor, to: Tensor, rows: Int32Array | undefined, column: number): void {
  const width = from.data.length / from.shape[0]!;
  const stride = to.data.length / to.shape[0]!;
  for (let row = 0; row < to.shape[0]!; row++) {
    // A table of an empty vocabulary has one row, which nothing names and nothing reads.
    const source = rows === undefined ? row : (rows[row] ?? -1);
    if (source >= 0)
      to.data.set(from.data.subarray(source * width, (source + 1) * width), row * stride + column);
  }
}

function refuseOtherLayers({ directory, settings }: Checkpoint, model: ModelConfig): void {
  const old = settings.config.model;
  const difference =
    FUSIONS.indexOf(model.fusion) < FUSIONS.indexOf(old.fusion)
      ? firstDifference({ fusion: old.fusion }, { fusion: model.fusion })
      : firstDifference(sizes(old, old.fusion), sizes(model, old.fusion));
  if (difference !== undefined)
    throw unfit(
      `the layers of ${directory} for a run that starts from it`,
      difference,
      'Take the model settings of that run (fusion may go from none to concat and on to attention, not back), or train without a warm start.',
    );
}

/** A model's settings, as far as they say something about the tensors of a fusion. */
function sizes(model: ModelConfig, fusion: ModelConfig['fusion']): object {
  const { subjectWidth, demographicWidth, contextWidth, subjectItem, ...always } = model;
  const context = { subjectWidth, demographicWidth, contextWidth, subjectItem };
  return { ...always, ...(fusion !== 'none' && context), fusion };
}

/**
 * An event that this run holds out may be among those that the start has learned, unless it is newer than all of them, or
 * both end their training at the same places.
 */
function refuseSeenAnswers(
  { directory, settings }: Checkpoint,
  { settings: own, heldOutFrom, hasTime }: NewRun,
): void {
  const sameCut =
    settings.datasetDigest === own.datasetDigest &&
    settings.trainingEvents === own.trainingEvents &&
    settings.dataUntilSeconds === own.dataUntilSeconds;
  if (sameCut || settings.dataUntilSeconds < heldOutFrom) return;
  const shown = (time: number): string =>
    hasTime ? new Date(time * 1000).toISOString() : `position ${time}`;
  throw unfit(
    `a start that has seen nothing of what this run holds out, from ${shown(heldOutFrom)} on`,
    `${directory} has seen events until ${shown(settings.dataUntilSeconds)}`,
    'Validation would measure what it remembers. Start from a run with an earlier cut; with --refit on both, the search starts from the search of that run.',
  );
}

function refuseOtherSpace(
  { directory, settings, schema }: Checkpoint,
  { settings: own, schema: ownSchema }: NewRun,
): void {
  const { gapFeature, positionFeature, model } = own.config;
  const old = settings.config;
  const remedy = 'Train without --head-only, then publish and encode all users again';
  const vocabulary = firstDifference(schema, ownSchema);
  if (vocabulary !== undefined)
    throw unfit(
      `the schema of ${directory} for a head alone, whose states and item vectors stay`,
      vocabulary,
      `${remedy}; or take data of the catalogue and names that it was trained on.`,
    );
  const encoder = firstDifference(
    {
      gapFeature: old.gapFeature,
      positionFeature: old.positionFeature,
      stateRows: maxStateRows(old.model),
    },
    { gapFeature, positionFeature, stateRows: maxStateRows(model) },
  );
  if (encoder !== undefined)
    throw unfit(
      `the states of ${directory} for a head alone (fusion attention reads one row an event, the others one row)`,
      encoder,
      `${remedy}.`,
    );
}

function unfit(expected: string, received: string, remedy: string): TandemError {
  return new TandemError('ERR_CHECKPOINT_INVALID', `Expected ${expected}: ${received}. ${remedy}`, {
    details: { expected, received },
  });
}
