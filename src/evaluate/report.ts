// How an evaluation is shown: a table for the terminal, report.json with every setting, and a chart.

import { join } from 'node:path';
import { writeFileAtomic } from '../files.ts';
import type { EvaluationReport, ReportRow } from './evaluate.ts';
import { COVERAGE_AT, RECALL_AT } from './metrics.ts';

export const REPORT_FILES = {
  json: 'report.json',
  text: 'report.txt',
  chart: 'recall.svg',
} as const;

const KIND_NOTE: Readonly<Record<ReportRow['kind'], string>> = {
  floor: 'floor',
  model: 'model',
  swap: 'test',
  leak: 'LEAK',
};

/** Writes report.json, report.txt and recall.svg into `directory`, each in one step. */
export async function writeReport(directory: string, report: EvaluationReport): Promise<void> {
  const chart = await chartSvg(report);
  writeFileAtomic(join(directory, REPORT_FILES.json), `${JSON.stringify(report, undefined, 2)}\n`);
  writeFileAtomic(join(directory, REPORT_FILES.text), `${formatReport(report)}\n`);
  writeFileAtomic(join(directory, REPORT_FILES.chart), chart);
}

/** The whole report as text of aligned columns. */
export function formatReport(report: EvaluationReport): string {
  const { protocol, dataset, floors } = report;
  const dropped = Object.entries(protocol.dropped)
    .map(([reason, count]) => `${count} ${reason}`)
    .join(', ');
  const mixture = Object.entries(floors.mixture)
    .map(([part, weight]) => `${weight} ${part}`)
    .join(' + ');
  return [
    `${dataset.name} (${dataset.digest.slice(0, 12)}), ${protocol.name} protocol, ${protocol.split} split`,
    protocol.description,
    `${protocol.requests} requests (left out: ${dropped}), ${protocol.candidates} candidates; seen: ${protocol.seenFilter}; ties: ${protocol.tieRule}`,
    `floors: a basket is ${floors.basketRule}; mixed = ${mixture} (${floors.mixtureFrom})`,
    '',
    metricsTable(report.rows),
    ...swapLines(report),
    ...sliceTable(report.rows),
  ].join('\n');
}

function metricsTable(rows: readonly ReportRow[]): string {
  const header = [
    '',
    'row',
    ...RECALL_AT.map((k) => `R@${k}`),
    'R@100 95 %',
    'NDCG@10',
    'MRR',
    ...COVERAGE_AT.map((k) => `cover@${k}`),
    'lift@100',
    'requests',
  ];
  return alignedTable([
    header,
    ...rows.map(({ name, kind, metrics }) => {
      const interval = metrics.recallInterval['100']!;
      return [
        KIND_NOTE[kind],
        name,
        ...RECALL_AT.map((k) => share(metrics.recall[String(k)]!)),
        `${share(interval.low)}-${share(interval.high)}`,
        share(metrics.ndcgAt10),
        share(metrics.mrr),
        ...COVERAGE_AT.map((k) => share(metrics.coverage[String(k)]!)),
        metrics.popularityLift['100']!.toFixed(1),
        String(metrics.count),
      ];
    }),
  ]);
}

function swapLines(report: EvaluationReport): string[] {
  if (report.swapChecks.length === 0) return [];
  return [
    '',
    ...report.swapChecks.map(
      ({ model, swapped, recallAt100, recallAt100Swapped, fell }) =>
        `${model}: ${swapped} swapped between requests: R@100 ${share(recallAt100)} -> ${share(recallAt100Swapped)}, ${fell ? 'falls as it must' : `DID NOT FALL beyond chance: no sign that the model uses ${swapped}`}`,
    ),
  ];
}

/** Recall@100 by slice; tests of the evaluation are left to report.json. */
function sliceTable(rows: readonly ReportRow[]): string[] {
  const shown = rows.filter(({ kind }) => kind === 'floor' || kind === 'model');
  const names = Object.keys(shown[0]?.metrics.slices ?? {});
  if (names.length === 0) return [];
  return [
    '',
    `R@100 by slice (requests in brackets); columns: ${shown.map(({ name }, i) => `${i + 1} ${name}`).join(', ')}`,
    alignedTable([
      ['', 'slice', ...shown.map((_, i) => String(i + 1))],
      ...names.map((name) => [
        '',
        `${name} (${shown[0]!.metrics.slices[name]!.count})`,
        // A search row has the requests with a query alone.
        ...shown.map(({ metrics }) => {
          const slice = metrics.slices[name];
          return slice === undefined ? '-' : share(slice.recall['100']!);
        }),
      ]),
    ]),
  ];
}

/** Columns padded to their widest cell: the first two to the right, numbers to the left. */
function alignedTable(rows: readonly (readonly string[])[]): string {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  return rows
    .map((row) =>
      row
        .map((cell, column) =>
          column < 2 ? cell.padEnd(widths[column]!) : cell.padStart(widths[column]!),
        )
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

function share(value: number): string {
  return value.toFixed(4).replace(/^0\./, '.');
}

/** Recall by row with its interval, one panel per K, as SVG text. Loads vega only when called. */
export async function chartSvg(report: EvaluationReport): Promise<string> {
  const [vega, vegaLite] = await Promise.all([import('vega'), import('vega-lite')]);
  const rows = report.rows.filter(({ kind }) => kind !== 'swap');
  const values = rows.flatMap(({ name, kind, metrics }) =>
    RECALL_AT.map((k) => ({
      name,
      kind,
      k: `Recall@${k}`,
      recall: metrics.recall[String(k)]!,
      low: metrics.recallInterval[String(k)]!.low,
      high: metrics.recallInterval[String(k)]!.high,
    })),
  );
  const y = {
    field: 'name',
    type: 'nominal',
    sort: rows.map(({ name }) => name),
    title: null,
  } as const;
  const { spec } = vegaLite.compile({
    $schema: 'https://vega.github.io/schema/vega-lite/v6.json',
    background: 'white',
    title: {
      text: `${report.dataset.name}: ${report.protocol.name} protocol${report.protocol.form === null ? '' : `, ${report.protocol.form}`}`,
      subtitle: `${report.protocol.requests} requests, ${report.protocol.candidates} candidates, ${report.protocol.split} split; lines are 95 % intervals`,
      anchor: 'start',
    },
    data: { values },
    facet: {
      column: {
        field: 'k',
        type: 'nominal',
        sort: RECALL_AT.map((k) => `Recall@${k}`),
        title: null,
      },
    },
    spec: {
      width: 180,
      height: { step: 18 },
      layer: [
        {
          mark: { type: 'bar', height: 11 },
          encoding: {
            y,
            x: { field: 'recall', type: 'quantitative', title: null, axis: { tickCount: 4 } },
            color: {
              field: 'kind',
              type: 'nominal',
              title: null,
              scale: {
                domain: ['floor', 'model', 'leak'],
                range: ['#b8b8b8', '#2f6db3', '#d95f4c'],
              },
            },
          },
        },
        {
          mark: { type: 'rule', color: '#333333' },
          encoding: { y, x: { field: 'low', type: 'quantitative' }, x2: { field: 'high' } },
        },
      ],
    },
  });
  const view = new vega.View(vega.parse(spec), { renderer: 'none' });
  try {
    return await view.toSVG();
  } finally {
    view.finalize();
  }
}
