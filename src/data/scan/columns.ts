// The error for a column that a manifest maps and a file does not have.

import { nearestName, TandemError } from '../../errors.ts';
import type { TableName } from '../manifest.ts';

const MAX_NAMES_SHOWN = 50;

/**
 * @param label - name of the file or files.
 * @param names - columns that there are.
 * @param hint - a further sentence, with a space before it.
 * @returns TandemError ERR_DATASET_INVALID that names the nearest column.
 */
export function missingColumn(
  table: TableName,
  field: string,
  column: string,
  label: string,
  names: readonly string[],
  hint = '',
): TandemError {
  const nearest = nearestColumn(column, names);
  const suggestion = nearest === undefined ? '' : ` Did you mean "${nearest}"?`;
  const more = names.length > MAX_NAMES_SHOWN ? `, and ${names.length - MAX_NAMES_SHOWN} more` : '';
  return new TandemError(
    'ERR_DATASET_INVALID',
    `Expected a column of ${label} for ${table}.columns.${field}, received "${column}".` +
      `${suggestion} Columns: ${names.slice(0, MAX_NAMES_SHOWN).join(', ')}${more}.${hint}`,
    { details: { table, field, column, nearest, columns: names } },
  );
}

/**
 * The column whose name is nearest: one that contains the name or is contained in it, else by edit
 * distance. So "user" suggests "user_id" and not "uses".
 */
function nearestColumn(column: string, names: readonly string[]): string | undefined {
  const wanted = column.toLowerCase();
  const related = names.filter((name) => {
    const known = name.toLowerCase();
    return known.includes(wanted) || (known !== '' && wanted.includes(known));
  });
  return related.sort((a, b) => a.length - b.length)[0] ?? nearestName(column, names);
}
