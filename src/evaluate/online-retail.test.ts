// The counts and baselines that docs/explanation/evaluation.md prints for UCI Online Retail, from
// the public table itself.

import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { it } from 'node:test';
import { importDataset } from '../data/import.ts';
import { readDataset } from '../data/read-dataset.ts';
import { evaluate } from './evaluate.ts';

const source = join(process.env['TANDEM_DATA_DIR'] ?? '', 'online-retail');
const skip =
  process.env['TANDEM_DATA_DIR'] === undefined
    ? 'set TANDEM_DATA_DIR to a folder with online-retail/online_retail.parquet'
    : !existsSync(source) && `there is no ${source}`;

/** Recall@10, @50, @100. */
const BASELINES: Readonly<
  Record<'all' | 'discovery', Readonly<Record<string, readonly number[]>>>
> = {
  all: {
    'popular, last 30 days': [0.105, 0.178, 0.259],
    'history only: item-item cosine': [0.163, 0.257, 0.348],
    'history only: repeat purchases': [0.266, 0.382, 0.468],
    'context only: item-item conditional': [0.164, 0.224, 0.299],
  },
  discovery: {
    'popular, last 30 days': [0.064, 0.14, 0.228],
    'history only: item-item cosine': [0.075, 0.15, 0.224],
    'context only: item-item conditional': [0.1, 0.166, 0.234],
  },
};
/**
 * Recall of the mixed baseline with weights set by hand. The weights that chooseMixture finds on
 * the validation split must not give a weaker baseline.
 */
const MIXED = { all: [0.253, 0.396, 0.489], discovery: [0.112, 0.188, 0.261] } as const;

it('Online Retail gives the documented requests and baselines', { skip }, async () => {
  const directory = mkdtempSync(join(tmpdir(), 'tandem-retail-'));
  try {
    await importDataset({
      adapter: { name: 'online-retail', source },
      outputDirectory: join(directory, 'dataset'),
    });
    const dataset = await readDataset(join(directory, 'dataset'));
    for (const [form, requests] of [
      ['all', 2485],
      ['discovery', 2162],
    ] as const) {
      const report = await evaluate({ dataset, protocol: 'time', form });
      assert.equal(report.protocol.requests, requests);
      const recall = (name: string): number[] => {
        const row = report.rows.find((each) => each.name === name)!;
        return ['10', '50', '100'].map((k) => row.metrics.recall[k]!);
      };
      for (const [name, expected] of Object.entries(BASELINES[form]))
        for (const [i, value] of recall(name).entries())
          assert.ok(
            Math.abs(value - expected[i]!) < 0.0026,
            `${form}, ${name}: ${value} is not ${expected[i]!}`,
          );
      const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b);
      assert.ok(
        sum(recall('context + history, mixed')) >= sum(MIXED[form]),
        recall('context + history, mixed').join(),
      );
    }
  } finally {
    rmSync(directory, { recursive: true });
  }
});
