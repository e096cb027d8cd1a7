// Runs an experiment: imports its data, trains each row with each seed, evaluates, and writes the
// result. When it is killed and started again, it skips finished runs and continues the unfinished
// one.

import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Dataset } from '../data/dataset.ts';
import { importDataset } from '../data/import.ts';
import { readDataset } from '../data/read-dataset.ts';
import { oneShard } from '../data/shards.ts';
import { generateWorld } from '../world/generate.ts';
import { worldName } from '../world/law.ts';
import { evaluate, type EvaluationReport } from '../evaluate/evaluate.ts';
import { loadEvaluated } from '../evaluate/load-checkpoint.ts';
import { writeFileAtomic } from '../files.ts';
import { canonicalJson, sha256Hex } from '../json.ts';
import type { TrainConfig } from '../model/train-config.ts';
import { logger } from '../telemetry.ts';
import { packageVersion } from '../platform/version.ts';
import { rowSettings, type Experiment } from './experiment-file.ts';
import { resultRow, writeResult, type ExperimentResult, type RunResult } from './result.ts';
import { trainForProtocol } from './training-recipe.ts';

/** Folders that an experiment reads and writes. */
export interface ExperimentPlaces {
  /** The public data sets; an experiment's `source` is a path in this folder. */
  readonly sources: string;
  /** Datasets, checkpoints and full reports, kept between runs. */
  readonly work: string;
  /** Where `<experiment>.json` is written. */
  readonly results: string;
}

/**
 * Runs the missing parts of an experiment, and writes its result after every run.
 *
 * The name of a run's folder depends on its settings and its data, so a changed row trains again in
 * another folder. Changes of the code do not change the name: delete the work folder to measure
 * again.
 *
 * @throws TandemError as import, training and evaluation do.
 */
export async function runExperiment(
  experiment: Experiment,
  places: ExperimentPlaces,
): Promise<ExperimentResult> {
  const dataset = await openDataset(experiment, places);
  const folder = join(places.work, experiment.name);
  const evaluations: EvaluationReport[] = [];
  for (const form of experiment.forms)
    evaluations.push(
      await once(join(folder, `baselines-${form}-${dataset.digest.slice(0, 12)}.json`), () =>
        evaluate({ dataset, protocol: experiment.protocol, form }),
      ),
    );
  const runs: RunResult[] = [];
  const result = (): ExperimentResult => ({
    format: 'tandem-experiment',
    version: 1,
    tandem: packageVersion(),
    experiment,
    dataset: {
      name: dataset.name,
      digest: dataset.digest,
      events: dataset.events.count,
      users: dataset.users.count,
      items: dataset.items.count,
    },
    evaluations: evaluations.map(({ protocol, baselines, rows }) => ({
      protocol,
      baselines,
      rows: rows.map(resultRow),
    })),
    runs,
  });
  // Runs are ordered by seed, so that the table has all rows as early as possible. Deviations
  // follow with the second seed.
  for (const seed of experiment.seeds)
    for (const row of experiment.rows) {
      const config = rowSettings(experiment, row, seed);
      logger.info({ experiment: experiment.name, row: row.name, seed }, 'run');
      runs.push({
        row: row.name,
        seed,
        ...(await trainAndEvaluate(experiment, dataset, config, row.name, folder)),
      });
      writeResult(places.results, result());
    }
  return result();
}

async function trainAndEvaluate(
  experiment: Experiment,
  dataset: Dataset,
  config: TrainConfig,
  name: string,
  folder: string,
): Promise<Omit<RunResult, 'row' | 'seed'>> {
  const { protocol, forms, refit, oracle } = experiment;
  const form = forms[0]!;
  const digest = sha256Hex(
    canonicalJson({ config, dataset: dataset.digest, protocol, form, refit }),
  ).slice(0, 12);
  const directory = join(folder, `${name}-seed${config.seed}-${digest}`);
  const { result } = await trainForProtocol({
    shards: oneShard(dataset),
    protocol,
    form,
    config,
    directory,
    refit,
  });
  const model = await loadEvaluated(directory, name);
  try {
    const reports: EvaluationReport[] = [];
    for (const reported of forms)
      reports.push(
        await once(join(directory, `report-${reported}${oracle ? '-oracle' : ''}.json`), () =>
          evaluate({
            dataset,
            protocol,
            form: reported,
            oracle,
            baselines: false,
            models: [model],
          }),
        ),
      );
    return {
      config,
      bestStep: result.bestStep,
      stepsRun: result.stepsRun,
      evaluations: reports.map(({ rows }) => rows.map(resultRow)),
    };
  } finally {
    model.dispose();
  }
}

/** The dataset of the experiment; imported or generated on first use. */
async function openDataset(
  { dataset: wanted }: Experiment,
  { sources, work }: ExperimentPlaces,
): Promise<Dataset> {
  const name =
    'world' in wanted
      ? worldName(wanted.world)
      : `${wanted.adapter}-${wanted.source.replaceAll(/[^A-Za-z0-9.-]+/g, '-')}`;
  const outputDirectory = join(work, 'datasets', name);
  if (!existsSync(outputDirectory))
    if ('world' in wanted) await generateWorld({ ...wanted.world, outputDirectory });
    else
      await importDataset({
        adapter: { name: wanted.adapter, source: join(sources, wanted.source) },
        outputDirectory,
      });
  return readDataset(outputDirectory);
}

/** The report that an earlier run left at `path`, or a new one. */
async function once(
  path: string,
  make: () => Promise<EvaluationReport>,
): Promise<EvaluationReport> {
  if (existsSync(path)) return JSON.parse(readFileSync(path, 'utf8')) as EvaluationReport;
  const report = await make();
  writeFileAtomic(path, JSON.stringify(report));
  return report;
}
