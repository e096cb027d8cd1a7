// Stages the sources of an import: each source is read once into a table <name>_stage, in which
// every row has the first rule that it breaks, if any. Counts what is rejected and keeps a few
// samples.

import { rmSync } from 'node:fs';
import { basename } from 'node:path';
import type { RejectedRow, Rejection } from './dataset-file.ts';
import { databaseError, identifier, literal, type Database, type Row } from './duckdb.ts';
import { FIELDS, type TableName } from './manifest.ts';
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

/** Rows with an id, a name or a text that cannot be read. PUT /v1/items also refuses such items. */
function unusableRules(table: TableName, fields: ReadonlySet<string>): RowRules {
  const rules: Record<string, RowRule> = {};
  for (const field of fields) {
    if (!['id', 'ids', 'text'].includes(FIELDS[table][field]!.kind)) continue;
    const received = identifier(`${field}_received`);
    rules[`unusable ${field}`] = { breaks: `${received} IS NOT NULL`, detail: received };
  }
  return rules;
}

/** SELECT of source_row and detail, for the rows with one kind of bad value. */
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
   * breaks, and `detail`, the text to show for it. The first rules are those about ids, names and
   * texts that cannot be read.
   *
   * @throws TandemError ERR_DATASET_INVALID when DuckDB cannot read the rows.
   */
  async stage(table: TableName, source: OpenedSource, rules: RowRules): Promise<void> {
    const cases = (then: (reason: string, rule: RowRule) => string): string =>
      Object.entries({ ...unusableRules(table, source.fields), ...rules })
        .map(([reason, rule]) => `WHEN ${rule.breaks} THEN ${then(reason, rule)}`)
        .join(' ');
    try {
      await this.#database.run(`CREATE TABLE ${table}_stage AS
        SELECT *, CASE ${cases((reason) => literal(reason))} END AS reason,
          CASE ${cases((_reason, { detail }) => detail)} END::VARCHAR AS detail
        FROM (${source.select})`);
    } catch (error) {
      throw databaseError(error, `${source.label} for ${table}`);
    }
    const { rejected, temporary } = source.scan;
    if (temporary !== undefined) rmSync(temporary);
    let rows = await this.#database.number(`SELECT count(*) FROM ${table}_stage`);
    for (const { reason, count, samples } of rejected) {
      const shown = samples.map((sample) => ({ ...sample, value: shortText(sample.value) }));
      this.#rejected.push({ table, reason, effect: 'row', count, samples: shown });
      rows += count;
    }
    this.#sourceRows[table] = rows;
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
      const sql = `SELECT source_row, detail FROM ${table}_stage
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

  async #report(
    table: TableName,
    source: OpenedSource,
    { reason, sql }: ValueCheck,
    effect: 'row' | 'value',
  ): Promise<void> {
    const count = await this.#database.number(`SELECT count(*) FROM (${sql})`);
    if (count === 0) return;
    const rows = await this.#database.rows(
      `SELECT source_row, detail FROM (${sql})
       ORDER BY source_row, detail LIMIT ${SAMPLES_PER_REASON}`,
    );
    const samples = rows.map((row) => ({
      ...source.scan.place(Number(row['source_row'])),
      value: shortText(row['detail']),
    }));
    this.#rejected.push({ table, reason, effect, count, samples });
  }
}

/** Rejections in words, for an error message: reasons with their counts and first places. */
export function describeRejections(rejected: readonly Rejection[]): string {
  return rejected
    .map(({ table, reason, count, samples: [first] }) => {
      const where =
        first === undefined ? '' : ` (first at ${describePlace(first)}: "${first.value}")`;
      return `${table}: ${reason} ${count}${where}`;
    })
    .join('; ');
}

/** File and line of a rejected row, as reports show them. */
export function describePlace(row: RejectedRow): string {
  return `${basename(row.file)}:${row.line}`;
}

function shortText(value: Row[string] | undefined): string {
  const text = value === null || value === undefined ? '' : String(value);
  return text.length > SAMPLE_TEXT_LENGTH ? `${text.slice(0, SAMPLE_TEXT_LENGTH)}...` : text;
}
