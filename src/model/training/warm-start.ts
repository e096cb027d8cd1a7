// A warm start: a run starts from the weights of a finished run, whose table rows are mapped by
// name to the tables of the new data. The finished run is called the start. This file decides what
// may differ between the two runs; row-maps.ts finds the rows with the same meaning.

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
import type { WarmStart } from './run.ts';
import { initialWeights, type NewWeights } from '../network/initial-weights.ts';
import { rowMaps } from '../network/row-maps.ts';
import type { WeightMap } from '../network/two-tower.ts';
import { tensorSpecs } from '../network/weights.ts';

/** The new run, which begins with a warm start. */
export interface NewRun {
  readonly settings: Omit<RunSettings, 'start'>;
  readonly schema: FeatureSchema;
  /** Time of the oldest event that the run does not train on. */
  readonly heldOutFrom: number;
  /** Whether times are real times and not positions. */
  readonly hasTime: boolean;
}

/** The start after it has been read and checked for the new run. */
export interface OpenStart {
  readonly identity: StartIdentity;
  readonly checkpoint: Checkpoint;
}

/** The fusions in order: each one reads all inputs of the one before it, and more. */
const FUSIONS: readonly ModelConfig['fusion'][] = ['none', 'concat', 'attention'];
/** Tensors [.., Z] that read z = [h ; c ; stateAge]. Fusion `attention` adds D columns before h. */
const FUSED_READERS: readonly string[] = ['head.hiddenWeight', 'head.skipWeight'];

/**
 * Reads the start, and checks that the new run can start from it.
 *
 * @throws TandemError ERR_CHECKPOINT_INVALID when the start is not a finished run, has other
 *   layers, or was trained on events that the new run holds out; for headOnly also when its schema
 *   or its states differ.
 */
export function openStart({ directory, headOnly }: WarmStart, run: NewRun): OpenStart {
  const checkpoint = loadCheckpoint(directory);
  refuseOtherLayers(checkpoint, run.settings.config.model);
  refuseSeenAnswers(checkpoint, run);
  if (headOnly) refuseOtherSpace(checkpoint, run);
  return { checkpoint, identity: { digest: runDigest(directory), headOnly } };
}

/**
 * Initial weights of a run with a warm start. Rows and tensors with the same meaning are copied
 * from the start; new ones are drawn.
 *
 * A new item starts with a small row of its own, so its input embedding comes almost entirely from
 * the learned rows of its categories, advertiser and price. The draw depends on the start and on
 * the seed. With the seed alone, a new row would equal the initial value of the start's row at the
 * same index, and the item of that row may still have its initial value.
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
 * Copies rows of `from` into `to`, starting at `column`. Columns of `to` outside of the copied row
 * stay as they are.
 *
 * @param rows - [rows of `to`] the row of `from` to copy, -1 for none; the same row when undefined.
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
 * Refuses a start that may have been trained on events that the new run holds out. A start is
 * accepted when all held-out events are newer than its training events, or when both runs have the
 * same training events.
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
