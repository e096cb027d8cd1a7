// The job of tandem evaluate: models and baselines are compared on a dataset.

import type { EvaluationReport } from '../evaluate/evaluate.ts';
import { loadOffline } from '../platform/offline-package.ts';
import { reportProgressTo } from '../telemetry.ts';
import type { JobOptions } from './job-options.ts';

/** What to evaluate, on which requests. */
export interface EvaluateOptions extends JobOptions {
  /** Directory of the dataset. */
  readonly dataset: string;
  /** Directories of finished runs. Without any, only the baselines are evaluated. */
  readonly checkpoints?: readonly string[];
  /**
   * Held-out requests; `table`: the last event of each user; `time`: the last weeks. Default
   * `time`.
   */
  readonly protocol?: 'table' | 'time';
  /**
   * Items of the time protocol; `all`: every item; `discovery`: items new to the user. Default
   * `all`.
   */
  readonly form?: 'all' | 'discovery';
  /** `validation` is for tuning, `test` for reports. Default `test`. */
  readonly split?: 'validation' | 'test';
  /** Whether to add a row whose context is derived from the label. It is marked as leakage. */
  readonly oracle?: boolean;
  /** Whether to mix states, head and index of two runs that differ only in their seed. */
  readonly skew?: boolean;
  /** Directory for the report as JSON, Markdown and charts. Without it, nothing is written. */
  readonly outputDirectory?: string;
}

/**
 * Ranks all candidates for every held-out request, with each baseline and each model. Costs rows x
 * requests x items.
 *
 * @throws TandemError ERR_INVALID_ARGUMENT when a model has trained on events that it is asked to
 *   predict; ERR_CHECKPOINT_INVALID for a run that is not finished or of another dataset;
 *   ERR_CONFIG_INVALID for a model with itemFrequency in the table protocol; ERR_DATASET_NOT_FOUND,
 *   and ERR_DATASET_INVALID also when the protocol does not fit the data; ERR_PACKAGE_MISSING
 *   without tandem-offline.
 */
export async function evaluate(options: EvaluateOptions): Promise<EvaluationReport> {
  const [{ readDataset }, evaluation, { loadAllEvaluated }] = await loadOffline(
    'tandem evaluate',
    () =>
      Promise.all([
        import('../data/read-dataset.ts'),
        import('../evaluate/evaluate.ts'),
        import('../evaluate/load-checkpoint.ts'),
      ]),
  );
  const dataset = await readDataset(options.dataset);
  const models = await loadAllEvaluated(options.checkpoints ?? []);
  try {
    const report = await reportProgressTo(options.onProgress, () =>
      evaluation.evaluate({
        dataset,
        protocol: options.protocol ?? 'time',
        form: options.form ?? 'all',
        split: options.split ?? 'test',
        models,
        oracle: options.oracle ?? false,
        skew: options.skew ?? false,
      }),
    );
    if (options.outputDirectory !== undefined) {
      const { writeReport } = await import('../evaluate/report/report.ts');
      await writeReport(options.outputDirectory, report);
    }
    return report;
  } finally {
    for (const model of models) model.dispose();
  }
}
