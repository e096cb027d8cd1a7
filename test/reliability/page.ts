// docs/reliability.md: its table, from what the rows measured; a row that did not run keeps its line.

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { packageRoot } from '../../src/native/binding.ts';
import type { Scale } from './row.ts';

export interface Result {
  readonly name: string;
  readonly target: string;
  readonly scale: Scale;
  readonly verdict: 'passed' | 'missed' | 'failed' | 'left out';
  readonly figures: readonly string[];
  /** What missed its target, and by how much. */
  readonly misses: readonly string[];
  readonly seconds: number;
}

const PAGE = join('docs', 'reliability.md');
const TABLE = '| row | target | figures | |\n| --- | --- | --- | --- |\n';

/** @returns path of the page, relative to the package. */
export function writePage(results: readonly Result[], scale: Scale, machine: string): string {
  const path = join(packageRoot(), PAGE);
  const text = readFileSync(path, 'utf8');
  const begin = text.indexOf(`## ${scale === 'quick' ? 'Quick' : 'Long'} form`);
  if (begin < 0) throw new Error(`Expected a section of the ${scale} form in ${PAGE}.`);
  const next = text.indexOf('\n## ', begin);
  const end = next < 0 ? text.length : next;
  const section = text.slice(begin, end);
  const lines = new Map(
    [...section.matchAll(/^\| (?!row |---)(\S+) \|.*$/gm)].map(([line, name]) => [name!, line]),
  );
  for (const result of results) lines.set(result.name, lineOf(result, machine));
  const heading = section.slice(0, section.indexOf('\n'));
  const table = `${heading}\n\n${TABLE}${[...lines.values()].join('\n')}\n`;
  writeFileSync(path, text.slice(0, begin) + table + text.slice(end));
  return PAGE;
}

function lineOf({ name, target, figures, verdict, seconds }: Result, machine: string): string {
  const date = new Date().toISOString().slice(0, 10);
  const outcome = `${verdict}, ${seconds.toFixed(0)} s, ${date}; ${machine}`;
  const cells = [name, target, figures.join('; '), outcome];
  return `| ${cells.map((cell) => cell.replace(/\s+/g, ' ').replaceAll('|', '\\|')).join(' | ')} |`;
}
