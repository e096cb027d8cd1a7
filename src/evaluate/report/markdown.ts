// Tables and numbers as Markdown, with columns that also line up in a terminal.

import type { ConfidenceInterval } from './bootstrap.ts';

const PROSE_WIDTH = 100;

/**
 * A table whose first column is text and whose other columns are numbers.
 *
 * @param rows - each as long as `head`.
 */
export function markdownTable(
  head: readonly string[],
  rows: readonly (readonly string[])[],
): string {
  const cells = [head, ...rows].map((row) => row.map((cell) => cell.replaceAll('|', '\\|')));
  const widths = head.map((_, column) => Math.max(3, ...cells.map((row) => row[column]!.length)));
  const line = (row: readonly string[]): string => {
    const padded = row.map((cell, i) =>
      i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!),
    );
    return `| ${padded.join(' | ')} |`;
  };
  const rule = widths.map((width, i) =>
    i === 0 ? '-'.repeat(width) : `${'-'.repeat(width - 1)}:`,
  );
  return [line(cells[0]!), `| ${rule.join(' | ')} |`, ...cells.slice(1).map(line)].join('\n');
}

/** Text in lines of at most 100 characters. */
export function wrapped(text: string): string {
  const lines: string[] = [];
  for (const word of text.split(' ')) {
    const last = lines.at(-1);
    if (last === undefined || last.length + 1 + word.length > PROSE_WIDTH) lines.push(word);
    else lines[lines.length - 1] = `${last} ${word}`;
  }
  return lines.join('\n');
}

/** Four decimals without the leading 0, as papers print recall. */
export function share(value: number): string {
  return value.toFixed(4).replace(/^(-?)0\./, '$1.');
}

/** An interval as two shares. */
export function interval({ low, high }: ConfidenceInterval): string {
  return `${share(low)} to ${share(high)}`;
}
