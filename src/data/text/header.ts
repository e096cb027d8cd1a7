// Columns of a text file: their names, where the mapped ones are, and how many cells a row has.

import { basename } from 'node:path';
import { TandemError } from '../../errors.ts';
import { missingColumn } from '../scan/columns.ts';
import type { ColumnReference, TableName } from '../manifest.ts';

/** How the rows of a file map to the written columns. */
export interface RowLayout {
  /** Position of each written column. */
  readonly positions: readonly number[];
  /** Cells that a row has at least: up to the last column that has a name. */
  readonly minCells: number;
  /** Cells of the header. More are taken only when they are empty. */
  readonly maxCells: number;
}

/**
 * Finds the mapped columns of a file.
 *
 * A name is that of the manifest exactly, or is it but for white space around it. Case matters.
 * Columns without a name, and names that occur twice, only matter where they are mapped.
 *
 * @param names - cells of the header, by position.
 * @param references - mapped columns by field; the layout has one position for each.
 * @throws TandemError ERR_DATASET_INVALID for a column that is missing or occurs twice.
 */
export function layoutOf(
  table: TableName,
  file: string,
  names: readonly string[],
  references: Readonly<Record<string, ColumnReference>>,
): RowLayout {
  const trimmed = names.map((name) => name.trim());
  const known = trimmed.filter((name) => name !== '');
  const positions = Object.entries(references).map(([field, { column }]) => {
    const exact = positionsOf(names, column);
    const found = exact.length > 0 ? exact : positionsOf(trimmed, column.trim());
    if (found.length === 0)
      throw missingColumn(table, field, column, basename(file), known, nulHint(file, names));
    if (found.length > 1)
      throw new TandemError(
        'ERR_DATASET_INVALID',
        `Expected one column "${column}" in ${basename(file)} for ${table}.columns.${field}, ` +
          `found ${found.length}, at positions ${found.map((at) => at + 1).join(' and ')}. ` +
          'Rename one of them.',
        { details: { table, field, column, file } },
      );
    return found[0]!;
  });
  return {
    positions,
    minCells: trimmed.findLastIndex((name) => name !== '') + 1,
    maxCells: names.length,
  };
}

function positionsOf(names: readonly string[], wanted: string): number[] {
  return wanted === '' ? [] : names.flatMap((name, at) => (name === wanted ? [at] : []));
}

/** A header with zero bytes is no text: probably another encoding or another kind of file. */
function nulHint(file: string, names: readonly string[]): string {
  if (!names.some((name) => name.includes('\0'))) return '';
  return ` ${basename(file)} holds zero bytes: convert it to UTF-8 text, or set its format.`;
}
