// Tables and numbers of the pages that people read: Markdown whose columns also line up in a terminal.

import type { Interval } from './bootstrap.ts';

/** A table whose first column is text and whose others are numbers. @param rows - of head's length. */
export function markdownTable(
  head: readonly string[],
  rows: readonly (readonly string[])[],
): string {
  const cells = [head, ...rows].map((row) => row.map((cell) => cell.replaceAll('|', '\\|')));
  const widths = head.map((_, column) => Math.max(3, ...cells.map((row) => row[column]!.length)));
  const line = (row: readonly string[]): string =>
    `| ${row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!))).join(' | ')} |`;
  const rule = widths.map((width, i) =>
    i === 0 ? '-'.repeat(width) : `${'-'.repeat(width - 1)}:`,
  );
  return [line(cells[0]!), `| ${rule.join(' | ')} |`, ...cells.slice(1).map(line)].join('\n');
}

/** Four decimals, without the 0 before the point: how papers print recall. */
export function share(value: number): string {
  return value.toFixed(4).replace(/^(-?)0\./, '$1.');
}

export function interval({ low, high }: Interval): string {
  return `${share(low)} to ${share(high)}`;
}
