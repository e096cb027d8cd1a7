// Writes docs/results.md from experiments/results/*.json: one section per experiment, with tables
// that also show published numbers, and curves.

import { join } from 'node:path';
import type { ConfidenceInterval } from '../evaluate/report/bootstrap.ts';
import { curveChart, type CurvePoint } from '../evaluate/report/charts.ts';
import { interval, markdownTable, share, wrapped } from '../evaluate/report/markdown.ts';
import { RECALL_AT } from '../evaluate/metrics.ts';
import { SIMULATION_NOTICE } from '../world/generate.ts';
import { writeFileAtomic } from '../files.ts';
import { sweptValue } from './experiment-file.ts';
import { readResults, type ExperimentResult, type ResultRow } from './result.ts';

const INTRODUCTION = `# Results

\`tandem experiment\` writes this page from \`experiments/results/*.json\`. Do not edit it by hand.

How to read the tables:

- Every request ranks all candidates. [Evaluation](explanation/evaluation.md) defines the protocols,
  the rows and the metrics.
- Rows of kind \`baseline\` learn nothing. Rows of kind \`swap\` exchange contexts or histories
  between requests: they must be worse than the model.
- Rows of kind \`published\` are numbers from papers. They were not measured here.
- A row with several seeds shows the mean ± the standard deviation over trainings.
- The last column is the 95 % interval over requests (bootstrap over users, averaged over seeds).`;

/** Reads one metric of a row. A row that was not measured on a slice has no metric there. */
type Read = (row: ResultRow) => number | undefined;

const COLUMNS: readonly (readonly [name: string, read: Read])[] = [
  ...[10, 50, 100].map((k): [string, Read] => [`R@${k}`, (row) => row.metrics.recall[String(k)]!]),
  ['NDCG@10', (row) => row.metrics.ndcgAt10],
];

/** Writes the page, and its charts into the folder with the name of the page without `.md`. */
export async function writeResultsPage(page: string, resultsDirectory: string): Promise<void> {
  const sections: string[] = [];
  const charts = page.replace(/\.md$/, '');
  const folder = charts.split('/').at(-1)!;
  for (const result of readResults(resultsDirectory)) {
    const images: string[] = [];
    for (const [kind, svg] of await chartsOf(result)) {
      const file = `${result.experiment.name}-${kind}.svg`;
      writeFileAtomic(join(charts, file), svg);
      images.push(`![${result.experiment.name}: ${kind}](${folder}/${file})`);
    }
    sections.push(section(result, images));
  }
  writeFileAtomic(page, `${[INTRODUCTION, ...sections].join('\n\n')}\n`);
}

function section(result: ExperimentResult, images: readonly string[]): string {
  const { experiment, dataset, runs, evaluations } = result;
  const wanted = experiment.rows.length * experiment.seeds.length;
  return [
    `## ${experiment.name}`,
    ...('world' in experiment.dataset ? [`**${SIMULATION_NOTICE}**`] : []),
    wrapped(experiment.about),
    [
      `- Dataset: ${dataset.name}, with ${dataset.events} events, ${dataset.users} users and ` +
        `${dataset.items} items`,
      `- Command: \`tandem experiment experiments/${experiment.name}.json\` ` +
        `(tandem ${result.tandem})`,
      ...(runs.length < wanted ? [`- **${runs.length} of ${wanted} runs are done**`] : []),
    ].join('\n'),
    ...evaluations.flatMap(({ protocol, rows }, i) => [
      wrapped(
        `The ${protocol.name} protocol ranks ${protocol.candidates} candidates for ` +
          `${protocol.requests} requests (${protocol.description}).`,
      ),
      table(
        result,
        rows,
        grouped(
          runs.flatMap(({ evaluations: each }) => each[i]!),
          ({ name }) => name,
        ),
      ),
    ]),
    ...images,
  ].join('\n\n');
}

function table(
  { experiment }: ExperimentResult,
  baselines: readonly ResultRow[],
  ours: ReadonlyMap<string, readonly ResultRow[]>,
): string {
  const shown = [...ours.values()].filter(
    ([row]) => row!.kind === 'model' || row!.kind === 'leak' || row!.kind === 'swap',
  );
  const labels = [
    ...new Set(
      [...baselines, ...shown.flat()].flatMap(({ metrics }) =>
        Object.keys(metrics.slices).filter((name) => name.startsWith('slice ')),
      ),
    ),
  ];
  const columns = [
    ...COLUMNS,
    ...labels.map((label): [string, Read] => [
      `R@10, ${label.slice('slice '.length)}`,
      (row) => row.metrics.slices[label]?.recall['10'],
    ]),
  ];
  const line = (rows: readonly ResultRow[]): string[] => [
    rows[0]!.name,
    rows[0]!.kind,
    rows[0]!.kind === 'baseline' ? '-' : String(rows.length),
    ...columns.map(([, read]) => spread(rows.map(read))),
    interval(meanInterval(rows.map(({ metrics }) => metrics.recallInterval['10']!))),
  ];
  return markdownTable(
    ['row', 'kind', 'seeds', ...columns.map(([name]) => name), 'R@10, 95 %'],
    [
      ...experiment.published.map(({ name, recallAt10, ndcgAt10 }) => [
        name,
        'published',
        '-',
        share(recallAt10),
        ...columns
          .slice(1)
          .map(([column]) =>
            column === 'NDCG@10' && ndcgAt10 !== undefined ? share(ndcgAt10) : '-',
          ),
        '-',
      ]),
      ...baselines.map((row) => line([row])),
      ...shown.map(line),
    ],
  );
}

/**
 * Curves of the swept setting and of staleness, if the experiment has them, from its first form.
 */
async function chartsOf(result: ExperimentResult): Promise<[kind: string, svg: string][]> {
  const { experiment, dataset } = result;
  const { sweep } = experiment;
  const charts: [string, string][] = [];
  const draw = async (kind: string, xTitle: string, marks: readonly Mark[]): Promise<void> => {
    if (new Set(marks.map(({ x }) => x)).size < 2) return;
    const title = {
      text: `${dataset.name}: ${kind}`,
      subtitle: 'mean over seeds; bands from the lowest to the highest seed',
    };
    charts.push([kind, await curveChart(title, xTitle, points(marks))]);
  };
  const rows = result.runs.flatMap((run) => run.evaluations[0]!.map((row) => ({ run, row })));
  if (sweep !== undefined)
    await draw(
      'sweep',
      sweep,
      rows
        .filter(({ row }) => row.kind === 'model')
        .map(({ run, row }) => ({
          curve: row.name.slice(`${run.row}: `.length),
          x: sweptValue(run.config, sweep) as number,
          row,
        })),
    );
  await draw(
    'staleness',
    'days late',
    rows
      .filter(({ row }) => row.staleDays !== undefined)
      .map(({ run, row }) => ({ curve: run.row, x: row.staleDays!, row })),
  );
  return charts;
}

interface Mark {
  readonly curve: string;
  readonly x: number;
  readonly row: ResultRow;
}

/** One point per curve, x and K: the mean over seeds. */
function points(marks: readonly Mark[]): CurvePoint[] {
  const groups = grouped(marks, ({ curve, x }) => `${curve}\n${x}`);
  return RECALL_AT.flatMap((k) =>
    [...groups.values()].map((group) => {
      const values = group.map(({ row }) => row.metrics.recall[String(k)]!);
      return {
        panel: `Recall@${k}`,
        curve: group[0]!.curve,
        x: group[0]!.x,
        value: mean(values),
        interval: { low: Math.min(...values), high: Math.max(...values) },
      };
    }),
  );
}

/** Groups values by key; keys are in the order of their first value. */
function grouped<T>(values: readonly T[], keyOf: (value: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const value of values) {
    const group = groups.get(keyOf(value));
    if (group === undefined) groups.set(keyOf(value), [value]);
    else group.push(value);
  }
  return groups;
}

/** Mean ± sample standard deviation; a single value without a deviation; `-` without a value. */
function spread(measured: readonly (number | undefined)[]): string {
  const values = measured.filter((value) => value !== undefined);
  if (values.length === 0) return '-';
  const centre = mean(values);
  if (values.length < 2) return share(centre);
  const squares = values.reduce((sum, value) => sum + (value - centre) ** 2, 0);
  return `${share(centre)} ± ${share(Math.sqrt(squares / (values.length - 1)))}`;
}

function meanInterval(intervals: readonly ConfidenceInterval[]): ConfidenceInterval {
  return {
    low: mean(intervals.map(({ low }) => low)),
    high: mean(intervals.map(({ high }) => high)),
  };
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
