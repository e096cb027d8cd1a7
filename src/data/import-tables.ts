// The SQL of the import: staged source rows -> checked rows -> slots. Set based throughout; the only rows that reach
// JavaScript are counts and the few samples of the report.

import { TandemError } from '../errors.ts';
import type { DATA_FILES, DatasetCounts, RejectedRow, Rejection } from './dataset-file.ts';
import { literal, literalList, type Database } from './duckdb.ts';
import type { TableName } from './manifest.ts';
import { openSource, type OpenedSource, type SourcePlan } from './sources.ts';

export interface BuiltTables {
  /** SELECT for each data file, in its final order. */
  readonly selects: Readonly<Record<(typeof DATA_FILES)[number], string>>;
  readonly counts: DatasetCounts;
  readonly sourceRows: Readonly<Partial<Record<TableName, number>>>;
  readonly rejected: readonly Rejection[];
  readonly hasTime: boolean;
  readonly actionNames: readonly string[];
  readonly timeRange: readonly number[];
}

const SAMPLES_PER_REASON = 3;
const SAMPLE_TEXT_LENGTH = 60;
/** Year 5138 in seconds: whatever lies beyond was written in another unit. */
const MAX_TIME_SECONDS = 1e11;
const DEFAULT_ACTION = 'event';
const MAX_AGE_YEARS = 150;

/** Builds all tables of the dataset inside `database`; nothing is written to files here. */
export async function buildTables(
  database: Database,
  plan: SourcePlan,
  baseDirectory: string,
  stage: (name: 'items' | 'events' | 'users' | 'requests') => void,
): Promise<BuiltTables> {
  const builder = new TableBuilder(database, plan, baseDirectory);
  stage('items');
  await builder.stageItems();
  stage('events');
  await builder.stageEvents();
  await builder.finishItems();
  stage('users');
  await builder.stageUsers();
  await builder.stageRequests();
  await builder.finishUsers();
  stage('requests');
  await builder.finishRequests();
  return builder.finish();
}

class TableBuilder {
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

  async stageItems(): Promise<void> {
    const source = await this.#open('items');
    if (source === undefined) return;
    await this.#stage('items', source, {
      'malformed line': ['malformed', 'NULL'],
      'missing item': ['item IS NULL', 'NULL'],
    });
    await this.#rejectDuplicates('items', 'item', 'duplicate item id');
  }

  async stageEvents(): Promise<void> {
    const source = (await this.#open('events'))!;
    await this.#stage('events', source, {
      'malformed line': ['malformed', 'NULL'],
      'missing user': ['"user" IS NULL', 'NULL'],
      'missing item': ['item IS NULL', 'NULL'],
      ...(source.fields.has('time') ? timeRules() : {}),
      ...(source.fields.has('position')
        ? { 'unparsable position': ['position IS NULL OR NOT isfinite(position)', 'position_text'] }
        : {}),
      ...(source.fields.has('action') ? { 'missing action': ['action IS NULL', 'NULL'] } : {}),
      ...(source.fields.has('value')
        ? {
            'non-finite value': [
              'value_text IS NOT NULL AND NOT coalesce(isfinite(try_cast(value AS FLOAT)), false)',
              'value_text',
            ],
          }
        : {}),
      ...(this.#plan.items === undefined
        ? {}
        : {
            'unknown item': [
              'item NOT IN (SELECT item FROM items_stage WHERE reason IS NULL)',
              'item',
            ],
          }),
    });
    const good = await this.#database.number(
      'SELECT count(*) FROM events_stage WHERE reason IS NULL',
    );
    if (good === 0) {
      await this.#reportRows('events', source);
      throw new TandemError(
        'ERR_DATASET_INVALID',
        `Expected at least one valid event in ${source.label}, found none in ${this.#sourceRows.events ?? 0} rows.` +
          `${summary(this.#rejected)} Check events.columns in the manifest.`,
        { details: { rejected: this.#rejected } },
      );
    }
  }

  /** Item slots, by id; categories by descending confidence within an item. */
  async finishItems(): Promise<void> {
    const source = this.#sources.items;
    if (source === undefined) {
      await this.#database.run(`CREATE TABLE items AS
        SELECT (row_number() OVER (ORDER BY item) - 1)::INTEGER AS slot, item AS id, '' AS title, '' AS advertiser,
          NULL::DOUBLE AS price, []::VARCHAR[] AS countries
        FROM (SELECT DISTINCT item FROM events_stage WHERE reason IS NULL) ORDER BY slot`);
      await this.#database.run('CREATE TABLE categories (category INTEGER, name VARCHAR)');
      await this.#database.run(
        'CREATE TABLE item_categories (item INTEGER, category INTEGER, confidence FLOAT)',
      );
      return;
    }
    await this.#database.run(`CREATE TABLE items AS
      SELECT (row_number() OVER (ORDER BY item) - 1)::INTEGER AS slot, source_row, source_file, item AS id,
        coalesce(title, '') AS title, coalesce(advertiser, '') AS advertiser,
        CASE WHEN isfinite(price) THEN price END AS price, price_text,
        list_sort(list_distinct(list_filter(coalesce(countries, []), lambda c: c IS NOT NULL AND c <> ''))) AS countries,
        categories, confidences,
        confidences IS NOT NULL AND len(confidences) <> len(coalesce(categories, [])) AS mismatched
      FROM items_stage WHERE reason IS NULL ORDER BY slot`);
    await this.#reportRows('items', source);
    await this.#reportValues('items', source, [
      [
        'non-finite price',
        `SELECT source_row, source_file, price_text AS detail FROM items WHERE price IS NULL AND price_text IS NOT NULL`,
      ],
      [
        'confidences do not match categories',
        `SELECT source_row, source_file, len(categories) || ' categories, ' || len(confidences) || ' confidences' AS detail
         FROM items WHERE mismatched`,
      ],
    ]);
    await this.#database.run(`CREATE TABLE item_category_stage AS
      SELECT slot, source_row, source_file, trim(name) AS name, confidence_text,
        ${source.fields.has('confidences') ? 'try_cast(confidence_text AS DOUBLE)' : '1.0::DOUBLE'} AS confidence
      FROM (SELECT slot, source_row, source_file, unnest(categories) AS name,
          unnest(coalesce(confidences, list_transform(categories, lambda c: NULL::VARCHAR))) AS confidence_text
        FROM items WHERE NOT mismatched) WHERE name IS NOT NULL AND trim(name) <> ''`);
    await this.#reportValues('items', source, [
      [
        'bad confidence',
        `SELECT source_row, source_file, name || ' ' || coalesce(confidence_text, 'missing') AS detail
         FROM item_category_stage WHERE NOT ${goodConfidence('confidence')}`,
      ],
    ]);
    await this.#database.run(`CREATE TABLE item_category_good AS
      SELECT slot, name, least(max(confidence), 1)::FLOAT AS confidence FROM item_category_stage
      WHERE ${goodConfidence('confidence')} GROUP BY slot, name`);
    await this.#database.run(`CREATE TABLE categories AS
      SELECT (row_number() OVER (ORDER BY name) - 1)::INTEGER AS category, name
      FROM (SELECT DISTINCT name FROM item_category_good) ORDER BY category`);
    await this.#database.run(`CREATE TABLE item_categories AS
      SELECT slot AS item, category, confidence FROM item_category_good JOIN categories USING (name)
      ORDER BY item, confidence DESC, category`);
  }

  async stageUsers(): Promise<void> {
    const source = await this.#open('users');
    if (source === undefined) return;
    await this.#stage('users', source, {
      'malformed line': ['malformed', 'NULL'],
      'missing user': ['"user" IS NULL', 'NULL'],
    });
    await this.#rejectDuplicates('users', '"user"', 'duplicate user id');
    await this.#reportRows('users', source);
    await this.#reportValues('users', source, [badAge('users_stage')]);
  }

  async stageRequests(): Promise<void> {
    const source = await this.#open('requests');
    if (source === undefined) return;
    const subjects = 'subjectItem IS NOT NULL, query IS NOT NULL, len(coalesce(interests, [])) > 0';
    await this.#stage('requests', source, {
      'malformed line': ['malformed', 'NULL'],
      'missing request id': ['id IS NULL', 'NULL'],
      ...timeRules(),
      'unknown surface': [`surface NOT IN ('related', 'search')`, 'surface'],
      'ambiguous subject': [
        `len(list_filter([${subjects}], lambda given: given)) > 1`,
        `concat_ws(', ', subjectItem, query, array_to_string(interests, '|'))`,
      ],
      'unknown subject item': ['subjectItem NOT IN (SELECT id FROM items)', 'subjectItem'],
      'confidences do not match interests': [
        'interestConfidences IS NOT NULL AND len(interestConfidences) <> len(coalesce(interests, []))',
        `len(coalesce(interests, [])) || ' interests, ' || len(interestConfidences) || ' confidences'`,
      ],
    });
    await this.#rejectDuplicates('requests', 'id', 'duplicate request id');
    for (const field of ['positives', 'delivered'])
      await this.#database.run(`CREATE TABLE request_${field} AS
        SELECT r.source_row, r.source_file, r.name, items.slot, r.rank
        FROM (SELECT source_row, source_file, unnest(list_transform(${field}, lambda x: trim(x))) AS name,
            unnest(range(len(${field}))) AS rank
          FROM requests_stage WHERE reason IS NULL) AS r LEFT JOIN items ON items.id = r.name
        WHERE r.name IS NOT NULL AND r.name <> ''`);
    await this.#database.run(`UPDATE requests_stage SET reason = 'empty positives',
        detail = array_to_string(positives, '|')
      WHERE reason IS NULL
        AND source_row NOT IN (SELECT source_row FROM request_positives WHERE slot IS NOT NULL)`);
    await this.#reportRows('requests', source);
    await this.#reportValues('requests', source, [
      ...['positives', 'delivered'].map((field): [string, string] => [
        `unknown item in ${field}`,
        `SELECT source_row, source_file, name AS detail FROM request_${field} WHERE slot IS NULL`,
      ]),
      badAge('requests_stage'),
    ]);
    await this.#database.run(`CREATE TABLE request_interests AS
      SELECT source_row, source_file, trim(name) AS name, confidence_text, rank,
        ${source.fields.has('interestConfidences') ? 'try_cast(confidence_text AS DOUBLE)' : '1.0::DOUBLE'} AS confidence
      FROM (SELECT source_row, source_file, unnest(interests) AS name, unnest(range(len(interests))) AS rank,
          unnest(coalesce(interestConfidences, list_transform(interests, lambda c: NULL::VARCHAR))) AS confidence_text
        FROM requests_stage WHERE reason IS NULL) WHERE name IS NOT NULL AND trim(name) <> ''`);
    await this.#reportValues('requests', source, [
      [
        'bad confidence',
        `SELECT source_row, source_file, name || ' ' || coalesce(confidence_text, 'missing') AS detail
         FROM request_interests WHERE NOT ${goodConfidence('confidence')}`,
      ],
    ]);
  }

  /** User slots, by id: everyone with an event, a row of attributes or a request. */
  async finishUsers(): Promise<void> {
    const parts = ['SELECT "user" FROM events_stage WHERE reason IS NULL'];
    const attributes = this.#sources.users !== undefined;
    if (attributes) parts.push('SELECT "user" FROM users_stage WHERE reason IS NULL');
    if (this.#sources.requests !== undefined)
      parts.push('SELECT "user" FROM requests_stage WHERE reason IS NULL AND "user" IS NOT NULL');
    await this.#database.run(`CREATE TABLE users AS
      SELECT (row_number() OVER (ORDER BY ids."user") - 1)::INTEGER AS slot, ids."user" AS id,
        ${attributes ? `${goodAge('u')} AS age, coalesce(u.gender, '') AS gender, coalesce(u.country, '') AS country` : "NULL::FLOAT AS age, '' AS gender, '' AS country"}
      FROM (SELECT DISTINCT "user" FROM (${parts.join(' UNION ALL ')})) AS ids
      ${attributes ? 'LEFT JOIN (FROM users_stage WHERE reason IS NULL) AS u ON u."user" = ids."user"' : ''}
      ORDER BY slot`);
  }

  /** Requests with slots, by (time, id). */
  async finishRequests(): Promise<void> {
    if (this.#sources.requests === undefined) {
      await this.#database
        .run(`CREATE TABLE requests (id VARCHAR, "user" INTEGER, time DOUBLE, surface VARCHAR,
        subject_kind VARCHAR, subject_item INTEGER, query VARCHAR, interests VARCHAR[], interest_confidences FLOAT[],
        positives INTEGER[], delivered INTEGER[], age FLOAT, gender VARCHAR, country VARCHAR, slice VARCHAR)`);
      return;
    }
    const lists = (field: string): string =>
      `(SELECT source_row, list(slot ORDER BY rank) AS slots
        FROM (SELECT source_row, slot, min(rank) AS rank FROM request_${field} WHERE slot IS NOT NULL GROUP BY ALL)
        GROUP BY source_row)`;
    await this.#database.run(`CREATE TABLE requests AS
      SELECT r.id, coalesce(users.slot, -1)::INTEGER AS "user", r.time,
        coalesce(r.surface, CASE WHEN r.query IS NULL THEN 'related' ELSE 'search' END) AS surface,
        CASE WHEN r.subjectItem IS NOT NULL THEN 'item' WHEN r.query IS NOT NULL THEN 'query'
             WHEN i.names IS NOT NULL THEN 'interests' ELSE 'none' END AS subject_kind,
        coalesce(subject.slot, -1)::INTEGER AS subject_item, coalesce(r.query, '') AS query,
        coalesce(i.names, []) AS interests, coalesce(i.confidences, []) AS interest_confidences,
        p.slots AS positives, coalesce(d.slots, []) AS delivered,
        ${goodAge('r')} AS age, r.gender, r.country, coalesce(r.slice, '') AS slice
      FROM requests_stage AS r
      JOIN ${lists('positives')} AS p USING (source_row)
      LEFT JOIN ${lists('delivered')} AS d USING (source_row)
      LEFT JOIN (SELECT source_row, list(name ORDER BY confidence DESC, rank) AS names,
          list(confidence ORDER BY confidence DESC, rank) AS confidences
        FROM (SELECT source_row, name, least(max(confidence), 1)::FLOAT AS confidence, min(rank) AS rank
          FROM request_interests WHERE ${goodConfidence('confidence')} GROUP BY source_row, name)
        GROUP BY source_row) AS i USING (source_row)
      LEFT JOIN users ON users.id = r."user"
      LEFT JOIN items AS subject ON subject.id = r.subjectItem
      WHERE r.reason IS NULL ORDER BY r.time, r.id`);
  }

  async finish(): Promise<BuiltTables> {
    const events = this.#sources.events!;
    const hasTime = events.fields.has('time');
    await this.#reportRows('events', events);
    const actions = await this.#database.rows(
      `SELECT DISTINCT coalesce(action, ${literal(DEFAULT_ACTION)}) AS name FROM events_stage
       WHERE reason IS NULL ORDER BY name`,
    );
    const actionNames = actions.map((row) => String(row['name']));
    // Not a join: a million events of one action make one chain of a million in a hash table.
    const action =
      actionNames.length === 1
        ? '0::INTEGER'
        : `(list_position(${literalList(actionNames)}, coalesce(e.action, ${literal(DEFAULT_ACTION)})) - 1)::INTEGER`;
    const order = events.fields.has('position') ? 'e.position, e.source_row' : 'e.source_row';
    const time = hasTime
      ? 'e.time'
      : events.fields.has('position')
        ? 'e.position'
        : `(row_number() OVER (PARTITION BY users.slot ORDER BY e.source_row) - 1)::DOUBLE`;
    await this.#database.run(`CREATE TABLE events AS
      SELECT users.slot AS "user", items.slot AS item, ${time} AS time, ${action} AS action,
        coalesce(e.value, 1)::FLOAT AS value
      FROM events_stage AS e JOIN users ON users.id = e."user" JOIN items ON items.id = e.item
      WHERE e.reason IS NULL ORDER BY users.slot, ${hasTime ? 'e.time, ' : ''}${order}`);
    const range = (
      await this.#database.rows('SELECT min(time) AS a, max(time) AS b FROM events')
    )[0]!;
    const tables = ['items', 'categories', 'item_categories', 'users', 'events', 'requests'];
    const counts: Record<string, number> = {};
    for (const table of tables)
      counts[table] = await this.#database.number(`SELECT count(*) FROM ${table}`);
    for (const { table, reason, count } of this.#plan.excluded ?? [])
      if (count > 0) this.#rejected.push({ table, reason, effect: 'excluded', count, samples: [] });
    return {
      selects: {
        'items.parquet': 'SELECT id, title, advertiser, price, countries FROM items',
        'categories.parquet': 'SELECT name FROM categories',
        'item-categories.parquet': 'SELECT item, category, confidence FROM item_categories',
        'users.parquet': 'SELECT id, age, gender, country FROM users',
        'events.parquet': 'SELECT "user", item, time, action, value FROM events',
        'requests.parquet': 'SELECT * FROM requests',
      },
      counts: {
        items: counts['items']!,
        categories: counts['categories']!,
        itemCategories: counts['item_categories']!,
        users: counts['users']!,
        events: counts['events']!,
        requests: counts['requests']!,
      },
      sourceRows: this.#sourceRows,
      rejected: this.#rejected,
      hasTime,
      actionNames,
      timeRange: [Number(range['a']), Number(range['b'])],
    };
  }

  async #open(table: TableName): Promise<OpenedSource | undefined> {
    const source = this.#plan[table];
    if (source === undefined) return undefined;
    return (this.#sources[table] = await openSource(
      this.#database,
      table,
      source,
      this.#baseDirectory,
    ));
  }

  /** Reads the source once into <table>_stage with `reason`, the first rule that a row breaks, and `detail`, what it says. */
  async #stage(
    table: TableName,
    source: OpenedSource,
    rules: Readonly<Record<string, readonly string[]>>,
  ): Promise<void> {
    const cases = (part: (rule: readonly string[], reason: string) => string): string =>
      Object.entries(rules)
        .map(([reason, rule]) => `WHEN ${rule[0]!} THEN ${part(rule, reason)}`)
        .join(' ');
    try {
      await this.#database.run(`CREATE TABLE ${table}_stage AS
        SELECT *, CASE ${cases((_rule, reason) => literal(reason))} END AS reason,
          CASE ${cases((rule) => rule[1]!)} END::VARCHAR AS detail FROM (${source.select})`);
    } catch (error) {
      throw new TandemError(
        'ERR_DATASET_INVALID',
        `Expected readable rows in ${source.label} for ${table}: ${(error as Error).message.split('\n')[0]!}`,
        { details: { table }, cause: error },
      );
    }
    const read = await this.#database.number(`SELECT count(*) FROM ${table}_stage`);
    this.#sourceRows[table] = read + (await this.#reportUnsplit(table, source));
  }

  async #rejectDuplicates(table: TableName, key: string, reason: string): Promise<void> {
    await this.#database.run(`UPDATE ${table}_stage SET reason = ${literal(reason)}, detail = ${key}
      WHERE reason IS NULL AND source_row NOT IN
        (SELECT min(source_row) FROM ${table}_stage WHERE reason IS NULL GROUP BY ${key})`);
  }

  /** CSV lines that DuckDB could not split into the header's columns; they never became rows. */
  async #reportUnsplit(table: TableName, source: OpenedSource): Promise<number> {
    if (source.rejectsTable === undefined) return 0;
    const bad = `SELECT DISTINCT s.file_path AS file, e.line, e.csv_line FROM ${source.rejectsTable} AS e
      JOIN ${source.rejectsTable}_scan AS s USING (scan_id, file_id)`;
    const count = await this.#database.number(
      `SELECT count(*) FROM (SELECT DISTINCT file, line FROM (${bad}))`,
    );
    if (count === 0) return 0;
    const rows = await this.#database.rows(
      `SELECT file, line, any_value(csv_line) AS text FROM (${bad}) GROUP BY file, line ORDER BY file, line LIMIT ${SAMPLES_PER_REASON}`,
    );
    this.#rejected.push({
      table,
      reason: 'malformed line',
      effect: 'row',
      count,
      samples: rows.map((row) => ({
        file: String(row['file']),
        line: Number(row['line']),
        value: shorten(String(row['text'] ?? '')),
      })),
    });
    return count;
  }

  async #reportRows(table: TableName, source: OpenedSource): Promise<void> {
    const reasons = await this.#database.rows(
      `SELECT DISTINCT reason FROM ${table}_stage WHERE reason IS NOT NULL ORDER BY reason`,
    );
    for (const row of reasons) {
      const reason = String(row['reason']);
      await this.#report(
        table,
        source,
        reason,
        'row',
        `SELECT source_row, source_file, detail FROM ${table}_stage WHERE reason = ${literal(reason)}`,
      );
    }
  }

  async #reportValues(
    table: TableName,
    source: OpenedSource,
    checks: readonly (readonly [string, string])[],
  ): Promise<void> {
    for (const [reason, sql] of checks) await this.#report(table, source, reason, 'value', sql);
  }

  async #report(
    table: TableName,
    source: OpenedSource,
    reason: string,
    effect: 'row' | 'value',
    sql: string,
  ): Promise<void> {
    const count = await this.#database.number(`SELECT count(*) FROM (${sql})`);
    if (count === 0) return;
    const rows = await this.#database.rows(
      `SELECT source_row, source_file, detail FROM (${sql}) ORDER BY source_row, detail LIMIT ${SAMPLES_PER_REASON}`,
    );
    const samples: RejectedRow[] = [];
    for (const row of rows)
      samples.push({
        file: String(row['source_file']),
        line: await this.#lineInFile(
          table,
          source,
          String(row['source_file']),
          Number(row['source_row']),
        ),
        value: shorten(
          row['detail'] === null || row['detail'] === undefined ? '' : String(row['detail']),
        ),
      });
    this.#rejected.push({ table, reason, effect, count, samples });
  }

  /** Rows are numbered through all files of a table, and lines that could not be split have no number. */
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
    const unsplit = await this.#database
      .rows(`SELECT DISTINCT e.line FROM ${source.rejectsTable} AS e
      JOIN ${source.rejectsTable}_scan AS s USING (scan_id, file_id) WHERE s.file_path = ${literal(file)} ORDER BY 1`);
    for (const { line: skipped } of unsplit) if (Number(skipped) <= line) line++;
    return line;
  }
}

function timeRules(): Record<string, string[]> {
  return {
    'missing time': ['time IS NULL AND time_text IS NULL', 'NULL'],
    'unparsable time': ['time IS NULL OR NOT isfinite(time)', 'time_text'],
    'time out of range': [`abs(time) > ${MAX_TIME_SECONDS}`, 'time_text'],
  };
}

function goodConfidence(column: string): string {
  return `coalesce(isfinite(${column}) AND ${column}::FLOAT > 0, false)`;
}

function goodAge(table: string): string {
  return `CASE WHEN ${table}.age BETWEEN 0 AND ${MAX_AGE_YEARS} THEN ${table}.age::FLOAT END`;
}

function badAge(stage: string): [string, string] {
  return [
    'bad age',
    `SELECT source_row, source_file, age_text AS detail FROM ${stage}
     WHERE reason IS NULL AND age_text IS NOT NULL AND NOT coalesce(age BETWEEN 0 AND ${MAX_AGE_YEARS}, false)`,
  ];
}

function shorten(text: string): string {
  return text.length > SAMPLE_TEXT_LENGTH ? `${text.slice(0, SAMPLE_TEXT_LENGTH)}...` : text;
}

function summary(rejected: readonly Rejection[]): string {
  const parts = rejected.map(({ reason, count, samples }) => {
    const first = samples[0];
    return `${reason} ${count}${first === undefined ? '' : ` (first at line ${first.line}: "${first.value}")`}`;
  });
  return parts.length === 0 ? '' : ` Rejected: ${parts.join('; ')}.`;
}
