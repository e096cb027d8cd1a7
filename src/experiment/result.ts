// The result of an experiment as it is committed: settings, counts and metrics of every run,
// rounded so that a diff shows real changes. Slices keep only means; the full reports are in the
// work folder.

import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { EvaluationReport } from '../evaluate/evaluate.ts';
import type { ScorerMetrics } from '../evaluate/metrics.ts';
import type { ReportRow, RowLabel } from '../evaluate/rows.ts';
import { writeFileAtomic } from '../files.ts';
import type { TrainConfig } from '../model/train-config.ts';
import type { Experiment } from './experiment-file.ts';

/** A row of a report, with fewer metrics per slice. */
export interface ResultRow extends RowLabel {
  readonly metrics: Omit<ScorerMetrics, 'slices'> & {
    readonly slices: Readonly<
      Record<string, { readonly count: number; readonly recall: Readonly<Record<string, number>> }>
    >;
  };
}

/** One training of one row. */
export interface RunResult {
  readonly row: string;
  readonly seed: number;
  readonly config: TrainConfig;
  readonly bestStep: number;
  readonly stepsRun: number;
  /** One for each form of the experiment, in the same order. */
  readonly evaluations: readonly (readonly ResultRow[])[];
}

/** The content of `experiments/results/<experiment>.json`. */
export interface ExperimentResult {
  readonly format: 'tandem-experiment';
  readonly version: 1;
  /** The version of this package that measured. */
  readonly tandem: string;
  readonly experiment: Experiment;
  readonly dataset: {
    readonly name: string;
    readonly digest: string;
    readonly events: number;
    readonly users: number;
    readonly items: number;
  };
  /** One for each form: the protocol, and the rows of the baselines. */
  readonly evaluations: readonly {
    readonly protocol: EvaluationReport['protocol'];
    readonly baselines: EvaluationReport['baselines'];
    readonly rows: readonly ResultRow[];
  }[];
  /** Ordered by seed; fewer than rows x seeds while the experiment runs. */
  readonly runs: readonly RunResult[];
}

/** A row of a report without the metrics of slices that results do not keep. */
export function resultRow({ metrics, ...label }: ReportRow): ResultRow {
  return {
    ...label,
    metrics: {
      ...metrics,
      slices: Object.fromEntries(
        Object.entries(metrics.slices).map(([name, { count, recall }]) => [
          name,
          { count, recall },
        ]),
      ),
    },
  };
}

/** Writes `<directory>/<experiment>.json` in one step. */
export function writeResult(directory: string, result: ExperimentResult): void {
  const rounded = JSON.stringify(
    result,
    (_key, value: unknown) =>
      typeof value === 'number' && !Number.isInteger(value) ? Number(value.toPrecision(6)) : value,
    1,
  );
  writeFileAtomic(join(directory, `${result.experiment.name}.json`), `${rounded}\n`);
}

/** The results in a folder, ordered by name; none before the first experiment has run. */
export function readResults(directory: string): ExperimentResult[] {
  if (!existsSync(directory)) return [];
  return readdirSync(directory)
    .filter((name) => name.endsWith('.json'))
    .sort()
    .map((name) => JSON.parse(readFileSync(join(directory, name), 'utf8')) as ExperimentResult);
}
