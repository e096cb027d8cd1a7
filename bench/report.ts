// Writes docs/benchmarks.md from bench/results/*.ndjson: for each benchmark its description, date,
// command and machine, charts where it has them, and one table. harness.ts writes the results.

import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { packageRoot } from '../src/package-root.ts';
import { writeCharts } from './charts.ts';
import { resultsDirectory, SPREAD_SUFFIX, type BenchResult } from './harness.ts';
import { BENCHES } from './registry.ts';

const INTRODUCTION = `# Benchmarks

\`npm run bench\` writes this page from \`bench/results/*.ndjson\`. Do not edit it by hand.

How to read the tables:

- Ours and the peer run in alternating rounds. A value is the median of the rounds, ± half of their
  interquartile range. Values that are measured once have no ±.
- A ratio above 1 means that ours is better, whether the metric should be low or high.
- Absolute values hold for the machine that the section names. Ratios carry over to other machines
  better than absolute values do.
`;

/**
 * Writes the page. A benchmark without results keeps the section that the page already has.
 *
 * @returns path of the page, relative to the package.
 */
export async function writeReport(): Promise<string> {
  const page = join('docs', 'benchmarks.md');
  const before = sectionsOf(join(packageRoot(), page));
  const sections: string[] = [];
  for (const [name, { about, charts }] of Object.entries(BENCHES)) {
    const path = join(resultsDirectory(), `${name}.ndjson`);
    const old = before.get(name);
    if (!existsSync(path)) {
      if (old !== undefined) sections.push(old);
      continue;
    }
    const results = readFileSync(path, 'utf8')
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as BenchResult);
    if (results.length === 0) continue;
    const date = statSync(path).mtime.toISOString().slice(0, 10);
    const images = charts === true ? await writeCharts(name, results) : [];
    // Three lines: in one, the machine's description is longer than 100 columns.
    const machine = results[0]!.machine.replaceAll(/; (ISA|node) /g, ';\n$1 ');
    const parts = [
      `## ${name}`,
      about,
      `Measured on ${date} with \`npm run bench -- ${name}\`.\nMachine: ${machine}.`,
      ...images,
      `${table(results)}\n`,
    ];
    sections.push(parts.join('\n\n'));
  }
  writeFileSync(join(packageRoot(), page), [INTRODUCTION, ...sections].join('\n'));
  return page;
}

/** Splits the page into its sections, by name. */
function sectionsOf(path: string): Map<string, string> {
  const [, ...sections] = readFileSync(path, 'utf8').split(/^## /m);
  return new Map(
    sections.map((text) => [text.slice(0, text.indexOf('\n')), `## ${text.trimEnd()}\n`]),
  );
}

function table(results: readonly BenchResult[]): string {
  const isSpread = ({ metric }: BenchResult): boolean => metric.endsWith(SPREAD_SUFFIX);
  const values = results.filter((result) => !isSpread(result));
  const metrics = new Set(values.map(({ metric }) => metric));
  const onePeer = new Set(values.map((result) => key({ ...result, peer: null })));
  if (metrics.size > 1 && onePeer.size === values.length) return wideTable(values);
  const spreads = new Map(results.filter(isSpread).map((result) => [key(result), result]));
  return markdown(
    ['case', 'metric', 'ours', 'peer', 'peer value', 'ratio'],
    values.map((result) => {
      const spread = spreads.get(key({ ...result, metric: result.metric + SPREAD_SUFFIX }));
      return [
        result.case,
        `${result.metric}, ${result.unit}`,
        measured(result.ours, spread?.ours),
        result.peer ?? '-',
        result.peerValue === null ? '-' : measured(result.peerValue, spread?.peerValue),
        result.ratio === null ? '-' : String(result.ratio),
      ];
    }),
  );
}

/**
 * A table with one row for each case and one column for each metric. A case has one peer at most.
 */
function wideTable(values: readonly BenchResult[]): string {
  const cases = new Map<string, BenchResult[]>();
  for (const result of values) cases.set(result.case, [...(cases.get(result.case) ?? []), result]);
  const columns = new Map(values.map(({ metric, unit }) => [metric, `${metric}, ${unit}`]));
  return markdown(
    ['case', ...columns.values(), 'peer'],
    [...cases].map(([name, lines]) => [
      name,
      ...[...columns.keys()].map((metric) => {
        const line = lines.find((candidate) => candidate.metric === metric);
        if (line === undefined) return '-';
        return line.peerValue === null ? String(line.ours) : `${line.ours} / ${line.peerValue}`;
      }),
      lines.find(({ peer }) => peer !== null)?.peer ?? '-',
    ]),
  );
}

function key({ case: name, metric, peer }: BenchResult): string {
  return JSON.stringify([name, metric, peer]);
}

function measured(value: number, spread: number | null | undefined): string {
  // Sizes and times that are measured once have no spread.
  return (spread ?? 0) === 0 ? String(value) : `${value} ± ${String(spread)}`;
}

function markdown(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}
