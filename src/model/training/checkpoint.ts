// The checkpoint: a directory that holds a training run, before and after it is finished. Every
// part is written to a temporary path and renamed, so a run that was killed continues from its
// newest complete part.
//
//   run.json          settings and data of the run: its identity
//   schema.json       feature schema
//   items.safetensors catalogue
//   step-000300/      state after step 300, from which a killed run continues: weights, averaged
//                     weights, best weights, optimiser moments, progress.json
//   final/            weights of the best step, and result.json. They are encoded, evaluated and
//                     published.

import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { useBackend } from '../../backend/select.ts';
import type { ItemCatalogue } from '../../bundle/catalogue.ts';
import { decodeCatalogue, encodeCatalogue } from '../../bundle/catalogue-file.ts';
import { catalogueItemFeatures } from '../../bundle/weights/item-features.ts';
import { decodeSafetensors, encodeSafetensors } from '../../bundle/safetensors.ts';
import { TandemError } from '../../errors.ts';
import { readJsonFile, reasonOf } from '../../foreign-errors.ts';
import { schemaHash, type FeatureSchema } from '../../features/schema.ts';
import {
  removeTemporaries,
  syncFolder,
  writeFileAtomic,
  writeFileSynced,
  writeFolderAtomic,
} from '../../files.ts';
import { canonicalJson, firstDifference, sha256Hex } from '../../json.ts';
import { parseTrainConfig, type TrainConfig } from '../train-config.ts';
import { TwoTower, type WeightMap } from '../network/two-tower.ts';
import type { TrainingResult, ValidationResult } from './run.ts';

/**
 * Version 2 added the n-grams of search queries to the schema. Version 3 added settings such as
 * historyMean.
 */
export const CHECKPOINT_VERSION = 3;

/** The identity of a run: its settings, its data and its start. */
export interface RunSettings {
  readonly format: 'tandem-checkpoint';
  readonly version: typeof CHECKPOINT_VERSION;
  readonly config: TrainConfig;
  readonly schemaHash: string;
  readonly datasetName: string;
  readonly datasetDigest: string;
  /** Unix seconds of the newest training event; its position when the dataset has no times. */
  readonly dataUntilSeconds: number;
  /** Number of training events. Runs with different numbers are different runs. */
  readonly trainingEvents: number;
  /**
   * Events per shard, on which the draws of a step depend. Absent when the dataset is one shard.
   */
  readonly shardEvents?: number;
  /** The run that a warm start starts from; absent when weights were drawn at random. */
  readonly start?: StartIdentity;
}

/** Identifies the run that a warm start starts from. */
export interface StartIdentity {
  /** runDigest of the finished run that the weights come from. */
  readonly digest: string;
  /** Whether only context layer and head are trained. */
  readonly headOnly: boolean;
}

/** Everything besides the settings that an interrupted run needs to continue. */
export interface TrainingState {
  readonly step: number;
  readonly validations: readonly ValidationResult[];
  readonly weights: WeightMap;
  readonly best: WeightMap;
  readonly moments: WeightMap;
  /** The averaged weights; absent when `averagedShare` is 0. */
  readonly averages?: WeightMap;
}

/** A finished run. */
export interface Checkpoint {
  readonly directory: string;
  readonly settings: RunSettings;
  readonly schema: FeatureSchema;
  readonly catalogue: ItemCatalogue;
  readonly result: TrainingResult;
  readonly weights: WeightMap;
}

const FINAL = 'final';
/** Six digits, or more for later steps. */
const STEP = /^step-(\d{6,})$/;

/**
 * Opens the directory of a run, or creates it.
 *
 * @throws TandemError ERR_CHECKPOINT_INVALID when the directory holds a run with other settings,
 *   data or start.
 */
export function openRun(
  directory: string,
  settings: RunSettings,
  schema: FeatureSchema,
  catalogue: ItemCatalogue,
): void {
  mkdirSync(directory, { recursive: true });
  removeTemporaries(directory);
  const path = join(directory, 'run.json');
  if (existsSync(path)) {
    const difference = firstDifference(JSON.parse(readFileSync(path, 'utf8')), settings);
    if (difference === undefined) return;
    throw new TandemError(
      'ERR_CHECKPOINT_INVALID',
      `Expected ${directory} to be empty or to hold a run with these settings, this data and ` +
        `this start, but it holds another: ${difference}. ` +
        'Choose another directory or delete this one.',
    );
  }
  writeFileAtomic(join(directory, 'schema.json'), canonicalJson(schema));
  writeFileAtomic(join(directory, 'items.safetensors'), encodeCatalogue(catalogue));
  writeFileAtomic(path, canonicalJson(settings));
}

/** Saves the state of a run. Older states are removed once this one is durable. */
export async function saveTrainingState(directory: string, state: TrainingState): Promise<void> {
  const name = `step-${String(state.step).padStart(6, '0')}`;
  await writeFolderAtomic(join(directory, name), (folder) => {
    writeFileSynced(join(folder, 'weights.safetensors'), encodeSafetensors(state.weights));
    writeFileSynced(join(folder, 'best.safetensors'), encodeSafetensors(state.best));
    writeFileSynced(join(folder, 'moments.safetensors'), encodeSafetensors(state.moments));
    if (state.averages !== undefined)
      writeFileSynced(join(folder, 'averages.safetensors'), encodeSafetensors(state.averages));
    writeFileSynced(
      join(folder, 'progress.json'),
      canonicalJson({ step: state.step, validations: state.validations }),
    );
  });
  for (const step of stepNames(directory))
    if (stepOf(step) < state.step) rmSync(join(directory, step), { recursive: true });
  syncFolder(directory);
}

/** The newest saved state of a run; undefined before the first one. */
export function loadTrainingState(directory: string): TrainingState | undefined {
  const name = stepNames(directory).at(-1);
  if (name === undefined) return undefined;
  const folder = join(directory, name);
  const averages = join(folder, 'averages.safetensors');
  const progress = JSON.parse(readFileSync(join(folder, 'progress.json'), 'utf8')) as {
    step: number;
    validations: ValidationResult[];
  };
  return {
    ...progress,
    weights: readWeights(join(folder, 'weights.safetensors')),
    best: readWeights(join(folder, 'best.safetensors')),
    moments: readWeights(join(folder, 'moments.safetensors')),
    ...(existsSync(averages) && { averages: readWeights(averages) }),
  };
}

/**
 * Finishes a run: writes the final weights, then removes the states that only an interrupted run
 * needs.
 */
export async function finishRun(
  directory: string,
  weights: WeightMap,
  result: TrainingResult,
): Promise<void> {
  await writeFolderAtomic(join(directory, FINAL), (folder) => {
    writeFileSynced(join(folder, 'weights.safetensors'), encodeSafetensors(weights));
    writeFileSynced(join(folder, 'result.json'), canonicalJson(result));
  });
  removeSteps(directory);
}

/**
 * Removes the saved states of a finished run. A process that was killed while finishing can have
 * left some.
 */
export function removeSteps(directory: string): void {
  for (const step of stepNames(directory))
    rmSync(join(directory, step), { recursive: true, force: true });
}

export function isFinished(directory: string): boolean {
  return existsSync(join(directory, FINAL, 'result.json'));
}

/**
 * The settings of a finished run.
 *
 * @throws TandemError ERR_CHECKPOINT_INVALID when there is no run, or it is unfinished or of
 *   another version.
 */
export function loadRunSettings(directory: string): RunSettings {
  if (!isFinished(directory))
    throw new TandemError(
      'ERR_CHECKPOINT_INVALID',
      `Expected a finished training run in ${directory}, found ` +
        `${existsSync(join(directory, 'run.json')) ? 'an unfinished one' : 'none'}. ` +
        `Run "tandem train --out ${directory}" (it continues where it stopped).`,
    );
  const settings = readRunFile(directory, 'run.json') as RunSettings;
  const version: number = settings.version;
  if (version !== CHECKPOINT_VERSION)
    throw new TandemError(
      'ERR_CHECKPOINT_INVALID',
      `Expected a checkpoint of version ${CHECKPOINT_VERSION} in ${directory}, ` +
        `received version ${version}. Train again with this version.`,
    );
  return { ...settings, config: parseTrainConfig(settings.config) };
}

/**
 * Reads a finished run.
 *
 * @throws TandemError ERR_CHECKPOINT_INVALID as loadRunSettings does, and when the parts of the run
 *   do not fit together.
 */
export function loadCheckpoint(directory: string): Checkpoint {
  const settings = loadRunSettings(directory);
  const schema = readRunFile(directory, 'schema.json') as FeatureSchema;
  if (schemaHash(schema) !== settings.schemaHash)
    throw new TandemError(
      'ERR_CHECKPOINT_INVALID',
      `Expected schema.json with hash ${settings.schemaHash} in ${directory}, ` +
        `received ${schemaHash(schema)}. The directory was changed after training: train again.`,
    );
  return {
    directory,
    settings,
    schema,
    catalogue: decodeCatalogue(readFileSync(join(directory, 'items.safetensors'))),
    result: readRunFile(directory, join(FINAL, 'result.json')) as TrainingResult,
    weights: readWeights(join(directory, FINAL, 'weights.safetensors')),
  };
}

function readRunFile(directory: string, name: string): unknown {
  try {
    return readJsonFile(join(directory, name));
  } catch (cause) {
    throw new TandemError(
      'ERR_CHECKPOINT_INVALID',
      `Expected ${name} of a training run in ${directory}, but: ${reasonOf(cause)}. ` +
        'The directory was damaged after training: train again.',
      { cause },
    );
  }
}

/** The digest of a finished run. It covers run.json (settings, data and start) and the weights. */
export function runDigest(directory: string): string {
  return sha256Hex(
    readFileSync(join(directory, 'run.json')),
    readFileSync(join(directory, FINAL, 'weights.safetensors')),
  );
}

/** The model of a finished run, on the current tfjs backend. */
export function modelOf(checkpoint: Checkpoint): TwoTower {
  return new TwoTower(
    checkpoint.settings.config.model,
    checkpoint.schema,
    catalogueItemFeatures(checkpoint.schema, checkpoint.catalogue),
    checkpoint.weights,
  );
}

/** The model of a finished run in `directory`, on the default tfjs backend. */
export async function loadModel(directory: string): Promise<TwoTower> {
  await useBackend();
  return modelOf(loadCheckpoint(directory));
}

/** Names of the saved states, in order of their steps. */
function stepNames(directory: string): string[] {
  return readdirSync(directory)
    .filter((name) => STEP.test(name))
    .sort((a, b) => stepOf(a) - stepOf(b));
}

function stepOf(name: string): number {
  return Number(STEP.exec(name)![1]);
}

function readWeights(path: string): WeightMap {
  const weights = new Map<string, { shape: readonly number[]; data: Float32Array }>();
  for (const [name, { shape, data }] of decodeSafetensors(readFileSync(path), path).tensors) {
    if (!(data instanceof Float32Array))
      throw new TandemError(
        'ERR_CHECKPOINT_INVALID',
        `Expected f32 tensors in ${path}, received another type for ${name}. Train again.`,
      );
    weights.set(name, { shape, data });
  }
  return weights;
}
