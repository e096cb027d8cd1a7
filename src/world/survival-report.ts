// The files of a survival simulation: survival.json with every number, survival.md for people.

import { join } from 'node:path';
import { markdownTable } from '../evaluate/report/markdown.ts';
import { writeFileAtomic } from '../files.ts';
import {
  SURVIVAL_METRICS,
  type Estimate,
  type SurvivalMetric,
  type SurvivalReport,
} from './survival.ts';

export const SURVIVAL_FILES = { json: 'survival.json', text: 'survival.md' } as const;

const TITLES: Readonly<Record<SurvivalMetric, string>> = {
  deliveredShare: 'candidates delivered',
  slotShare: 'slots won',
  medianRelevance: 'median candidate relevance',
  deliveredRelevance: 'relevance of delivered ads',
  revenuePerRequest: 'revenue a request',
  returnOnAdSpend: 'return on ad spend',
};

/** Writes survival.json and survival.md into `directory`, each atomically. */
export function writeSurvival(directory: string, report: SurvivalReport): void {
  writeFileAtomic(join(directory, SURVIVAL_FILES.text), `${formatSurvival(report)}\n`);
  writeFileAtomic(
    join(directory, SURVIVAL_FILES.json),
    `${JSON.stringify(report, undefined, 2)}\n`,
  );
}

/** Formats a report as Markdown. */
export function formatSurvival(report: SurvivalReport): string {
  const { generators, dataset, requests, candidates, slots } = report;
  const head = ['generator', ...SURVIVAL_METRICS.flatMap((metric) => [TITLES[metric], '95 %'])];
  // Significant digits and not decimals, because relevances are small and revenues are large.
  const digits = (value: number): string => String(Number(value.toPrecision(3)));
  const cells = (row: Readonly<Record<SurvivalMetric, Estimate>>): string[] =>
    SURVIVAL_METRICS.flatMap((metric) => {
      const { value, interval } = row[metric];
      return [digits(value), `${digits(interval.low)} to ${digits(interval.high)}`];
    });
  const lifted = generators.flatMap(({ name, lift }) => (lift === null ? [] : [{ name, lift }]));
  return [
    `# ${dataset.name}: survival`,
    `**${report.notice}** Ranker, auction, rivals and budgets are those of ` +
      'docs/explanation/synthetic-world.md.',
    `${report.description}. ${requests} requests, ${candidates} candidates of each generator, ` +
      `${slots} slots a request. Intervals: 95 %, bootstrap over users.`,
    markdownTable(
      head,
      generators.map((row) => [row.name, ...cells(row)]),
    ),
    ...(lifted.length === 0
      ? []
      : [
          `## As a multiple of ${generators[0]!.name}`,
          markdownTable(
            head,
            lifted.map(({ name, lift }) => [name, ...cells(lift)]),
          ),
        ]),
  ].join('\n\n');
}
