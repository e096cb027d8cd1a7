// A warm start: a run starts from the weights of a finished one, which are mapped by name to the
// tables of the new data. This file decides what may differ between the two runs; row-maps.ts finds
// the rows with the same meaning.

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

/** Where a run starts from. */
export interface WarmStart {
  /** Directory of a finished run. */
  readonly directory: string;
  /**
   * Trains only context layer and head. What encoderId and itemTowerId cover stays the same byte
   * for byte, so the states and item vectors of the start remain valid. The schema must be the
   * start's.
   */
  readonly headOnly: boolean;
}

/** The run that starts. */
export interface NewRun {
  readonly settings: Omit<RunSettings, 'start'>;
  readonly schema: FeatureSchema;
  /** Time of the oldest event that the run does not train on. */
  readonly heldOutFrom: number;
  /** Whether times are real times and not positions. */
  readonly hasTime: boolean;
}

/** A start that this run can use. */
export interface OpenStart {
  readonly identity: StartIdentity;
  readonly checkpoint: Checkpoint;
}

/** Each fusion reads everything that the fusion before it reads, and more. */
const FUSIONS: readonly ModelConfig['fusion'][] = ['none', 'concat', 'attention'];
/** Tensors that read [h ; c ; age]. Fusion `attention` puts D columns before these. */
const FUSED_READERS: readonly string[] = ['head.hiddenWeight', 'head.skipWeight'];

/**
 * Reads the run to start from, and checks that this run can start from it.
 *
 * @throws TandemError ERR_CHECKPOINT_INVALID when there is no finished run, when it has other
 *   layers or has seen events that this run holds out, or, for headOnly, when its schema or states
 *   differ.
 */
export function openStart({ directory, headOnly }: WarmStart, run: NewRun): OpenStart {
  const checkpoint = loadCheckpoint(directory);
  refuseOtherLayers(checkpoint, run.settings.config.model);
  refuseSeenAnswers(checkpoint, run);
  if (headOnly) refuseOtherSpace(checkpoint, run);
  return { checkpoint, identity: { digest: runDigest(directory), headOnly } };
}

/**
 * First weights of a run with a warm start: rows and tensors with the same meaning are copied, new
 * ones are drawn.
 *
 * A new item starts with a small row of its own; nearly all of its input comes from what its
 * categories, advertiser and price have learned. The draw depends on the start as well as on the
 * seed: with the seed alone, a new row would equal the first value of the start's row at that
 * index, which can belong to an item that has not moved since.
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
 * Copies rows of `from` into `to`, starting at `column`. Columns behind a shorter row stay as they
 * are.
 *
 * @param rows - [rows of `to`] rows of `from`, -1 for none; the same rows when absent.
 */
function copyRows(from: Tensor, to: Tensor, rows: Int32Array | undefined, column: number): void {
  const width = from.data.length / from.shape[0]!;
  const stride = to.data.length / to.shape[0]!;
  for (let row = 0; row < to.shape[0]!; row++) {
    // The table of an empty vocabulary has one row, which no name maps to and nothing reads.
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
      'Take the model settings of that run (fusion may go from none to concat and on to ' +
        'attention, not back), or train without a warm start.',
    );
}

/** The settings of a model that decide the shapes of the tensors of a fusion. */
function sizes(model: ModelConfig, fusion: ModelConfig['fusion']): object {
  const { subjectWidth, demographicWidth, contextWidth, subjectItem, ...always } = model;
  const context = { subjectWidth, demographicWidth, contextWidth, subjectItem };
  return { ...always, ...(fusion !== 'none' && context), fusion };
}

/**
 * Refuses a start that may have learned events that this run holds out. That is so unless these are
 * newer than all events of the start, or both runs have the same training events.
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
    'Validation would measure what it remembers. Start from a run with an earlier cut; ' +
      'with --refit on both, the search starts from the search of that run.',
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
      `${remedy}; or use data with the catalogue and names that it was trained on.`,
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
      `the states of ${directory} for a head alone ` +
        '(fusion attention reads one row per event, the others one row)',
      encoder,
      `${remedy}.`,
    );
}

function unfit(expected: string, received: string, remedy: string): TandemError {
  return new TandemError('ERR_CHECKPOINT_INVALID', `Expected ${expected}: ${received}. ${remedy}`, {
    details: { expected, received },
  });
}
