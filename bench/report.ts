// docs/benchmarks.md from bench/results/*.ndjson: one table a benchmark, with machine, date and command, and charts of some.

import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { packageRoot } from '../src/native/binding.ts';
import { writeCharts } from './charts.ts';
import { resultsDirectory, SPREAD_SUFFIX, type BenchResult } from './harness.ts';
import { BENCHES } from './registry.ts';

const INTRODUCTION = `# Benchmarks

Written by \`npm run bench\` from \`bench/results/*.ndjson\`: do not edit. Ours and the peer run in
alternating rounds; a number is the median of the rounds, ± half of their interquartile range. A ratio above 1 says that ours is
better, whether low or high is good. Absolute numbers are of the machine named; the ratios are what travels.
`;

/**
 * Writes the page; a benchmark without results keeps the section that it has.
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
    sections.push(
      `## ${name}\n\n${about}\n\n${date}; ${results[0]!.machine}. Command: \`npm run bench -- ${name}\`.\n\n${images.map((line) => `${line}\n\n`).join('')}${table(results)}\n`,
    );
  }
  writeFileSync(join(packageRoot(), page), [INTRODUCTION, ...sections].join('\n'));
  return page;
}

/** The page's sections by name. */
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

/** One row a case and one column a metric, where a case has one peer at most. */
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
  // Sizes, and times that are taken once, have no spread.
  return (spread ?? 0) === 0 ? String(value) : `${value} ± ${String(spread)}`;
}

function markdown(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}
