// Writes an evaluation: report.json with every number, report.md for people, and charts.

import { join } from 'node:path';
import { writeFileAtomic } from '../../files.ts';
import { barChart, curveChart, type Bar, type ChartTitle } from './charts.ts';
import type { EvaluationReport } from '../evaluate.ts';
import { interval, markdownTable, share } from './markdown.ts';
import { COVERAGE_AT, RECALL_AT, type Metrics } from '../metrics.ts';
import type { ReportRow } from '../rows.ts';

export const REPORT_FILES = {
  json: 'report.json',
  text: 'report.md',
  recall: 'recall.svg',
  slices: 'slices.svg',
  staleness: 'staleness.svg',
} as const;

/**
 * Writes report.json, report.md and the charts for which there are rows into `directory`. Each file
 * is replaced in one step.
 */
export async function writeReport(directory: string, report: EvaluationReport): Promise<void> {
  const charts: [string, string | undefined][] = [
    [REPORT_FILES.recall, await recallChart(report)],
    [REPORT_FILES.slices, await sliceChart(report)],
    [REPORT_FILES.staleness, await stalenessChart(report)],
  ];
  for (const [name, svg] of charts)
    if (svg !== undefined) writeFileAtomic(join(directory, name), svg);
  writeFileAtomic(join(directory, REPORT_FILES.text), `${formatReport(report)}\n`);
  writeFileAtomic(join(directory, REPORT_FILES.json), `${JSON.stringify(report, undefined, 2)}\n`);
}

/** The whole report as Markdown. */
export function formatReport(report: EvaluationReport): string {
  const { protocol, dataset, baselines } = report;
  const dropped = Object.entries(protocol.dropped)
    .map(([reason, count]) => `${count} ${reason}`)
    .join(', ');
  return [
    `# ${dataset.name}: ${protocol.name} protocol, ${protocol.split} split`,
    `${protocol.description}. Dataset ${dataset.digest.slice(0, 12)}; ` +
      `${protocol.requests} requests (left out: ${dropped}), ${protocol.candidates} candidates. ` +
      `Seen: ${protocol.seenFilter}. Ties: ${protocol.tieRule}. ` +
      'Intervals: 95 %, bootstrap over users.',
    ...(baselines === null ? [] : [baselinesLine(baselines)]),
    metricsTable(report.rows),
    ...swapLines(report),
    ...stalenessTable(report.rows),
    ...skewTable(report.rows),
    ...sliceTables(report.rows),
  ].join('\n\n');
}

function baselinesLine({
  basketRule,
  mixture,
  mixtureFrom,
}: NonNullable<EvaluationReport['baselines']>) {
  const weights = Object.entries(mixture)
    .map(([part, weight]) => `${weight} ${part}`)
    .join(' + ');
  return `Baselines: a basket is ${basketRule}; mixed = ${weights} (${mixtureFrom}).`;
}

function metricsTable(rows: readonly ReportRow[]): string {
  const head = [
    'row',
    'kind',
    ...RECALL_AT.map((k) => `R@${k}`),
    'R@10, 95 %',
    'R@100, 95 %',
    'NDCG@10',
    'NDCG@10, 95 %',
    'MRR',
    ...COVERAGE_AT.flatMap((k) => [`coverage@${k}`, `lift@${k}`]),
  ];
  return markdownTable(
    head,
    rows
      .filter(({ kind }) => kind !== 'stale' && kind !== 'skew')
      .map(({ name, kind, metrics }) => [
        name,
        kind === 'leak' ? 'LEAK' : kind,
        ...RECALL_AT.map((k) => share(metrics.recall[String(k)]!)),
        interval(metrics.recallInterval['10']!),
        interval(metrics.recallInterval['100']!),
        share(metrics.ndcgAt10),
        interval(metrics.ndcgAt10Interval),
        share(metrics.mrr),
        ...COVERAGE_AT.flatMap((k) => [
          share(metrics.coverage[String(k)]!),
          metrics.popularityLift[String(k)]!.toFixed(1),
        ]),
      ]),
  );
}

function swapLines({ swapChecks }: EvaluationReport): string[] {
  if (swapChecks.length === 0) return [];
  const lines = swapChecks.map(
    ({ model, swapped, recallAt100, recallAt100Swapped, fell }) =>
      `- ${model}: ${swapped} swapped between requests: R@100 ${share(recallAt100)} to ` +
      `${share(recallAt100Swapped)}, ` +
      (fell
        ? 'falls as it must'
        : `DID NOT FALL beyond chance: no sign that the model uses ${swapped}`),
  );
  return ['## Swap tests', lines.join('\n')];
}

/** Recall by age of the states, for the models that have such rows. */
function stalenessTable(rows: readonly ReportRow[]): string[] {
  const curves = stalenessCurves(rows);
  if (curves.length === 0) return [];
  return [
    '## Staleness: states so many days late',
    markdownTable(
      ['model', 'days late', ...recallHead()],
      curves.map(({ model, staleDays, metrics }) => [
        model!,
        String(staleDays),
        ...recallCells(metrics),
      ]),
    ),
  ];
}

function skewTable(rows: readonly ReportRow[]): string[] {
  if (!rows.some(({ kind }) => kind === 'skew')) return [];
  return [
    '## Skew: states, head and index of two trainings',
    markdownTable(
      ['state of', 'head of', 'index of', ...recallHead()],
      rows.flatMap(({ versions, metrics }) =>
        versions === undefined
          ? []
          : [[versions.state, versions.head, versions.index, ...recallCells(metrics)]],
      ),
    ),
  ];
}

/** One table per slice, with results only; report.json has the other rows as well. */
function sliceTables(rows: readonly ReportRow[]): string[] {
  const shown = rows.filter(({ kind }) => kind === 'baseline' || kind === 'model');
  const names = Object.keys(shown[0]?.metrics.slices ?? {});
  return names.flatMap((slice) => [
    `## ${slice} (${shown[0]!.metrics.slices[slice]!.count} requests)`,
    markdownTable(
      ['row', ...recallHead()],
      // A search row has only the requests with a query.
      shown.flatMap(({ name, metrics }) => {
        const part = metrics.slices[slice];
        return part === undefined ? [] : [[name, ...recallCells(part)]];
      }),
    ),
  ]);
}

function recallHead(): string[] {
  return ['R@10', 'R@10, 95 %', 'R@100', 'R@100, 95 %'];
}

function recallCells({ recall, recallInterval }: Metrics): string[] {
  return ['10', '100'].flatMap((k) => [share(recall[k]!), interval(recallInterval[k]!)]);
}

/** A chart of recall by row and K. */
function recallChart(report: EvaluationReport): Promise<string> {
  const { rows, protocol } = report;
  return barChart(
    titleOf(
      report,
      `${protocol.requests} requests, ${protocol.candidates} candidates, ` +
        `${protocol.split} split; lines are 95 % intervals`,
    ),
    RECALL_AT.flatMap((k) =>
      rows.flatMap(({ name, kind, metrics }) => barOf(`Recall@${k}`, name, kind, metrics, k)),
    ),
    RECALL_AT.length,
  );
}

/** A chart of Recall@100 by slice; undefined without slices. */
async function sliceChart(report: EvaluationReport): Promise<string | undefined> {
  const bars = report.rows.flatMap(({ name, kind, metrics }) =>
    Object.entries(metrics.slices).flatMap(([slice, means]) =>
      barOf(`${slice} (${means.count})`, name, kind, means, 100),
    ),
  );
  if (bars.length === 0) return undefined;
  return barChart(
    titleOf(report, 'Recall@100 by slice (requests); lines are 95 % intervals'),
    bars,
    3,
  );
}

/** A chart of recall over the days that states are late; undefined without such rows. */
async function stalenessChart(report: EvaluationReport): Promise<string | undefined> {
  const rows = stalenessCurves(report.rows);
  if (rows.length === 0) return undefined;
  return curveChart(
    titleOf(report, 'recall with older states; bands are 95 % intervals'),
    'days late',
    RECALL_AT.flatMap((k) =>
      rows.map(({ model, staleDays, metrics }) => ({
        panel: `Recall@${k}`,
        curve: model!,
        x: staleDays!,
        value: metrics.recall[String(k)]!,
        interval: metrics.recallInterval[String(k)]!,
      })),
    ),
  );
}

/** The rows of the curves, one model after the other; none when only fresh states were ranked. */
function stalenessCurves(rows: readonly ReportRow[]): ReportRow[] {
  if (!rows.some(({ kind }) => kind === 'stale')) return [];
  return rows.filter(({ staleDays }) => staleDays !== undefined);
}

function barOf(
  panel: string,
  name: string,
  kind: ReportRow['kind'],
  { recall, recallInterval }: Metrics,
  k: number,
): Bar[] {
  if (kind !== 'baseline' && kind !== 'model' && kind !== 'leak') return [];
  const value = recall[String(k)]!;
  return [{ panel, name, kind, value, interval: recallInterval[String(k)]! }];
}

function titleOf({ dataset, protocol }: EvaluationReport, subtitle: string): ChartTitle {
  const form = protocol.form === null ? '' : `, ${protocol.form}`;
  return { text: `${dataset.name}: ${protocol.name} protocol${form}`, subtitle };
}
