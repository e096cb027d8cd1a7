// docs/reliability/quick.json and long.json: the newest figures of every row, with machine and
// date. A row that did not run keeps its entry.

import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Figure, Scale } from './row.ts';

export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  /** Load average of the last minute before the run; absent where it was not recorded. */
  readonly load?: number;
  readonly node: string;
}

/** One row of one form, as it is stored. */
export interface StoredResult {
  readonly name: string;
  readonly verdict: 'passed' | 'missed' | 'failed' | 'left out';
  /** YYYY-MM-DD, UTC. */
  readonly date: string;
  readonly seconds: number;
  readonly machine: Machine;
  readonly figures: readonly Figure[];
}

export type StoredResults = Readonly<Record<Scale, readonly StoredResult[]>>;

export function readResults(): StoredResults {
  return { quick: readForm('quick'), long: readForm('long') };
}

/** Replaces the entries of the rows that ran, and keeps the others. */
export function storeResults(scale: Scale, results: readonly StoredResult[]): void {
  const byName = new Map(readForm(scale).map((result) => [result.name, result]));
  for (const result of results) byName.set(result.name, result);
  const text = JSON.stringify([...byName.values()], null, 2);
  writeFileSync(pathOf(scale), `${text}\n`);
}

function readForm(scale: Scale): StoredResult[] {
  return JSON.parse(readFileSync(pathOf(scale), 'utf8')) as StoredResult[];
}

function pathOf(scale: Scale): string {
  return fileURLToPath(new URL(`../../docs/reliability/${scale}.json`, import.meta.url));
}
