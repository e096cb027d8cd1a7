// Stages the sources of an import: each source is read once into a table <name>_stage, in which
// every row has the first rule that it breaks, if any. Counts what is rejected and keeps a few
// samples.

import { TandemError } from '../errors.ts';
import type { RejectedRow, Rejection } from './dataset-file.ts';
import { literal, type Database, type Row } from './duckdb.ts';
import type { TableName } from './manifest.ts';
import { openSource, type OpenedSource, type SourcePlan } from './sources.ts';

const SAMPLES_PER_REASON = 3;
const SAMPLE_TEXT_LENGTH = 60;

/**
 * When a row is rejected, and what the report shows of it; both are SQL expressions over the
 * source.
 */
export interface RowRule {
  readonly breaks: string;
  /** Text of the offending value, NULL when there is none to show. */
  readonly detail: string;
}

/** Rules by the reason that the report gives; the first rule that a row breaks counts. */
export type RowRules = Readonly<Record<string, RowRule>>;

/** SELECT of source_row, source_file and detail, for the rows with one kind of bad value. */
export interface ValueCheck {
  readonly reason: string;
  readonly sql: string;
}

export class SourceStager {
  readonly #database: Database;
  readonly #plan: SourcePlan;
  readonly #baseDirectory: string;
  readonly #rejected: Rejection[] = [];
  readonly #sourceRows: Partial<Record<TableName, number>> = {};
  readonly #sources: Partial<Record<TableName, OpenedSource>> = {};

  constructor(database: Database, plan: SourcePlan, baseDirectory: string) {
    this.#database = database;
    this.#plan = plan;
    this.#baseDirectory = baseDirectory;
  }

  /** What was rejected so far, by table and reason. */
  get rejected(): readonly Rejection[] {
    return this.#rejected;
  }

  /** Rows read from each source so far, rejected rows included. */
  get sourceRows(): Readonly<Partial<Record<TableName, number>>> {
    return this.#sourceRows;
  }

  /** An opened source; undefined when the plan does not have it. */
  source(table: TableName): OpenedSource | undefined {
    return this.#sources[table];
  }

  /** Opens the source of a table; undefined when the plan does not have it. */
  async open(table: TableName): Promise<OpenedSource | undefined> {
    const source = this.#plan[table];
    if (source === undefined) return undefined;
    const opened = await openSource(this.#database, table, source, this.#baseDirectory);
    this.#sources[table] = opened;
    return opened;
  }

  /**
   * Reads a source into <table>_stage, with two more columns: `reason`, the first rule that the row
   * breaks, and `detail`, the text to show for it.
   *
   * @throws TandemError ERR_DATASET_INVALID when DuckDB cannot read the rows.
   */
  async stage(table: TableName, source: OpenedSource, rules: RowRules): Promise<void> {
    const cases = (then: (reason: string, rule: RowRule) => string): string =>
      Object.entries(rules)
        .map(([reason, rule]) => `WHEN ${rule.breaks} THEN ${then(reason, rule)}`)
        .join(' ');
    try {
      await this.#database.run(`CREATE TABLE ${table}_stage AS
        SELECT *, CASE ${cases((reason) => literal(reason))} END AS reason,
          CASE ${cases((_reason, { detail }) => detail)} END::VARCHAR AS detail
        FROM (${source.select})`);
    } catch (error) {
      throw new TandemError(
        'ERR_DATASET_INVALID',
        `Expected readable rows in ${source.label} for ${table}: ` +
          (error as Error).message.split('\n')[0]!,
        { details: { table }, cause: error },
      );
    }
    const read = await this.#database.number(`SELECT count(*) FROM ${table}_stage`);
    this.#sourceRows[table] = read + (await this.#reportUnsplit(table, source));
  }

  /** Rejects every row but the first of those with the same key. */
  async rejectDuplicates(table: TableName, key: string, reason: string): Promise<void> {
    await this.#database.run(`UPDATE ${table}_stage SET reason = ${literal(reason)}, detail = ${key}
      WHERE reason IS NULL AND source_row NOT IN
        (SELECT min(source_row) FROM ${table}_stage WHERE reason IS NULL GROUP BY ${key})`);
  }

  /** Adds rows that the source left out on purpose to the report. */
  addExcluded(excluded: NonNullable<SourcePlan['excluded']>): void {
    for (const { table, reason, count } of excluded)
      if (count > 0) this.#rejected.push({ table, reason, effect: 'excluded', count, samples: [] });
  }

  /** Reports the rejected rows of a staged table, by reason. */
  async reportRows(table: TableName, source: OpenedSource): Promise<void> {
    const reasons = await this.#database.rows(
      `SELECT DISTINCT reason FROM ${table}_stage WHERE reason IS NOT NULL ORDER BY reason`,
    );
    for (const row of reasons) {
      const reason = String(row['reason']);
      const sql = `SELECT source_row, source_file, detail FROM ${table}_stage
        WHERE reason = ${literal(reason)}`;
      await this.#report(table, source, { reason, sql }, 'row');
    }
  }

  /** Reports bad values of rows that are kept without them. */
  async reportValues(
    table: TableName,
    source: OpenedSource,
    checks: readonly ValueCheck[],
  ): Promise<void> {
    for (const check of checks) await this.#report(table, source, check, 'value');
  }

  /** The rejections so far in one sentence, for an error message; empty without any. */
  summary(): string {
    const parts = this.#rejected.map(({ reason, count, samples: [first] }) => {
      const where = first === undefined ? '' : ` (first at line ${first.line}: "${first.value}")`;
      return `${reason} ${count}${where}`;
    });
    return parts.length === 0 ? '' : ` Rejected: ${parts.join('; ')}.`;
  }

  /**
   * Reports CSV lines that DuckDB could not split into the header's columns. They are in no table.
   */
  async #reportUnsplit(table: TableName, source: OpenedSource): Promise<number> {
    if (source.rejectsTable === undefined) return 0;
    const bad = `SELECT DISTINCT s.file_path AS file, e.line, e.csv_line
      FROM ${source.rejectsTable} AS e
      JOIN ${source.rejectsTable}_scan AS s USING (scan_id, file_id)`;
    const count = await this.#database.number(
      `SELECT count(*) FROM (SELECT DISTINCT file, line FROM (${bad}))`,
    );
    if (count === 0) return 0;
    const rows = await this.#database.rows(
      `SELECT file, line, any_value(csv_line) AS text FROM (${bad})
       GROUP BY file, line ORDER BY file, line LIMIT ${SAMPLES_PER_REASON}`,
    );
    const samples = rows.map((row) => ({
      file: String(row['file']),
      line: Number(row['line']),
      value: shortText(row['text']),
    }));
    this.#rejected.push({ table, reason: 'malformed line', effect: 'row', count, samples });
    return count;
  }

  async #report(
    table: TableName,
    source: OpenedSource,
    { reason, sql }: ValueCheck,
    effect: 'row' | 'value',
  ): Promise<void> {
    const count = await this.#database.number(`SELECT count(*) FROM (${sql})`);
    if (count === 0) return;
    const rows = await this.#database.rows(
      `SELECT source_row, source_file, detail FROM (${sql})
       ORDER BY source_row, detail LIMIT ${SAMPLES_PER_REASON}`,
    );
    const samples: RejectedRow[] = [];
    for (const row of rows) {
      const file = String(row['source_file']);
      const line = await this.#lineInFile(table, source, file, Number(row['source_row']));
      samples.push({ file, line, value: shortText(row['detail']) });
    }
    this.#rejected.push({ table, reason, effect, count, samples });
  }

  /**
   * The line of a row in its file. Row numbers run through all files of a table and do not count
   * lines that could not be split.
   */
  async #lineInFile(
    table: TableName,
    source: OpenedSource,
    file: string,
    row: number,
  ): Promise<number> {
    if (source.prepared) return row;
    const first = await this.#database.number(
      `SELECT min(source_row) FROM ${table}_stage WHERE source_file = ${literal(file)}`,
    );
    let line = row - first + 1 + source.headerLines;
    if (source.rejectsTable === undefined) return line;
    const unsplit = await this.#database.rows(`SELECT DISTINCT e.line
      FROM ${source.rejectsTable} AS e
      JOIN ${source.rejectsTable}_scan AS s USING (scan_id, file_id)
      WHERE s.file_path = ${literal(file)} ORDER BY 1`);
    for (const { line: skipped } of unsplit) if (Number(skipped) <= line) line++;
    return line;
  }
}

function shortText(value: Row[string] | undefined): string {
  const text = value === null || value === undefined ? '' : String(value);
  return text.length > SAMPLE_TEXT_LENGTH ? `${text.slice(0, SAMPLE_TEXT_LENGTH)}...` : text;
}
