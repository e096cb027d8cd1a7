// How much of a source an import may leave out, and the error when it is more.

import { TandemError } from '../errors.ts';
import type { Rejection } from './dataset-file.ts';
import type { TableName } from './manifest.ts';
import { describeRejections } from './source-stager.ts';
import { remedyOf } from './text/text-table.ts';

/** Largest share of the rows of a table that may be left out unless loss is allowed. */
const MAX_LOSS_SHARE = 0.01;

/** Rows by table. */
export type TableRows = Readonly<Partial<Record<TableName, number>>>;

/** Rows of each table that were read and not left out. */
export function takenRows(sourceRows: TableRows, rejected: readonly Rejection[]): TableRows {
  const taken = { ...sourceRows };
  for (const { table, effect, count } of rejected)
    if (effect === 'row') taken[table] = (taken[table] ?? 0) - count;
  return taken;
}

/**
 * Refuses an import that leaves out more than 1 % of the rows of a table. Rows that an adapter
 * leaves out on purpose do not count, nor do values of rows that are kept.
 *
 * @throws TandemError ERR_DATASET_INVALID with every reason, its count and its first line.
 */
export function checkLoss(sourceRows: TableRows, rejected: readonly Rejection[]): void {
  const taken = takenRows(sourceRows, rejected);
  const shares: string[] = [];
  const tables = new Set<TableName>();
  for (const [table, read] of Object.entries(sourceRows) as [TableName, number][]) {
    const lost = read - taken[table]!;
    if (lost <= MAX_LOSS_SHARE * read) continue;
    tables.add(table);
    shares.push(`${lost} of ${read} rows of ${table} (${((100 * lost) / read).toFixed(1)} %)`);
  }
  if (shares.length === 0) return;
  const reasons = rejected.filter(({ table, effect }) => tables.has(table) && effect === 'row');
  const remedies = new Set(reasons.map(({ reason }) => remedyOf(reason)));
  throw new TandemError(
    'ERR_DATASET_INVALID',
    `Expected to leave out at most ${100 * MAX_LOSS_SHARE} % of the rows of each table, ` +
      `received ${shares.join(' and ')} that cannot be taken: ${describeRejections(reasons)}.` +
      `${[...remedies].join('')} Correct the rows, or pass --allow-loss to import the others.`,
    { details: { sourceRows, takenRows: taken, rejected } },
  );
}
