// The SQL of an import: staged source rows become checked rows, then the tables of the dataset, in
// which items and users are row numbers. All work is set based; only counts and the samples of the
// report reach JavaScript.

import { TandemError } from '../errors.ts';
import type { DATA_FILES, DatasetCounts, Rejection } from './dataset-file.ts';
import { literal, literalList, type Database } from './duckdb.ts';
import type { TableName } from './manifest.ts';
import {
  describeRejections,
  SourceStager,
  type RowRules,
  type ValueCheck,
} from './source-stager.ts';
import { EARLIEST_SECONDS, LARGEST_SECONDS, latestSeconds } from '../time.ts';
import type { SourcePlan, TableSource } from './sources.ts';

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

/**
 * March 1973 in seconds: an earlier time in milliseconds or microseconds was written in seconds.
 */
const SMALLEST_SCALED_SECONDS = 1e8;
const DEFAULT_ACTION = 'event';
const MAX_AGE_YEARS = 150;

/** Builds all tables of the dataset inside `database`; writes no files. */
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
  readonly #stager: SourceStager;

  constructor(database: Database, plan: SourcePlan, baseDirectory: string) {
    this.#database = database;
    this.#plan = plan;
    this.#stager = new SourceStager(database, plan, baseDirectory);
  }

  async stageItems(): Promise<void> {
    const source = await this.#stager.open('items');
    if (source === undefined) return;
    await this.#stager.stage('items', source, {
      'malformed line': { breaks: 'malformed', detail: 'NULL' },
      'missing item': { breaks: 'item IS NULL', detail: 'NULL' },
    });
    await this.#stager.rejectDuplicates('items', 'item', 'duplicate item id');
  }

  async stageEvents(): Promise<void> {
    const source = (await this.#stager.open('events'))!;
    await this.#stager.stage('events', source, {
      'malformed line': { breaks: 'malformed', detail: 'NULL' },
      'missing user': { breaks: '"user" IS NULL', detail: 'NULL' },
      'missing item': { breaks: 'item IS NULL', detail: 'NULL' },
      ...(source.fields.has('time') && timeRules(this.#plan.events)),
      ...(source.fields.has('position') && {
        'unparsable position': {
          breaks: 'position IS NULL OR NOT isfinite(position)',
          detail: 'position_text',
        },
      }),
      ...(source.fields.has('action') && {
        'missing action': { breaks: 'action IS NULL', detail: 'NULL' },
      }),
      ...(source.fields.has('value') && {
        'non-finite value': {
          breaks:
            'value_text IS NOT NULL AND NOT coalesce(isfinite(try_cast(value AS FLOAT)), false)',
          detail: 'value_text',
        },
      }),
      ...(this.#plan.items !== undefined && {
        'unknown item': {
          breaks: 'item NOT IN (SELECT item FROM items_stage WHERE reason IS NULL)',
          detail: 'item',
        },
      }),
    });
    const good = await this.#database.number(
      'SELECT count(*) FROM events_stage WHERE reason IS NULL',
    );
    if (good === 0) {
      await this.#stager.reportRows('events', source);
      const { rejected, sourceRows } = this.#stager;
      throw new TandemError(
        'ERR_DATASET_INVALID',
        `Expected at least one valid event in ${source.label}, found none in ` +
          `${sourceRows.events ?? 0} rows. Rejected: ${describeRejections(rejected)}. ` +
          'Check events.columns in the manifest.',
        { details: { rejected } },
      );
    }
  }

  /**
   * Makes items, with rows by id, and their categories, by descending confidence within an item.
   */
  async finishItems(): Promise<void> {
    const source = this.#stager.source('items');
    if (source === undefined) {
      await this.#database.run(`CREATE TABLE items AS
        SELECT (row_number() OVER (ORDER BY item) - 1)::INTEGER AS item_row, item AS id,
          '' AS title, '' AS advertiser, NULL::DOUBLE AS price, []::VARCHAR[] AS countries
        FROM (SELECT DISTINCT item FROM events_stage WHERE reason IS NULL) ORDER BY item_row`);
      await this.#database.run('CREATE TABLE categories (category INTEGER, name VARCHAR)');
      await this.#database.run(
        'CREATE TABLE item_categories (item INTEGER, category INTEGER, confidence FLOAT)',
      );
      return;
    }
    await this.#database.run(`CREATE TABLE items AS
      SELECT (row_number() OVER (ORDER BY item) - 1)::INTEGER AS item_row,
        source_row, item AS id,
        coalesce(title, '') AS title, coalesce(advertiser, '') AS advertiser,
        CASE WHEN isfinite(price) THEN price END AS price, price_text,
        list_sort(list_distinct(list_filter(coalesce(countries, []),
          lambda c: c IS NOT NULL))) AS countries,
        categories, confidences,
        confidences IS NOT NULL AND len(confidences) <> len(coalesce(categories, []))
          AS mismatched
      FROM items_stage WHERE reason IS NULL ORDER BY item_row`);
    await this.#stager.reportRows('items', source);
    await this.#stager.reportValues('items', source, [
      {
        reason: 'non-finite price',
        sql: `SELECT source_row, price_text AS detail FROM items
          WHERE price IS NULL AND price_text IS NOT NULL`,
      },
      {
        reason: 'confidences do not match categories',
        sql: `SELECT source_row,
            len(categories) || ' categories, ' || len(confidences) || ' confidences' AS detail
          FROM items WHERE mismatched`,
      },
    ]);
    await this.#database.run(`CREATE TABLE item_category_stage AS
      SELECT item_row, source_row, name, confidence_text,
        ${confidenceOf(source.fields.has('confidences'))} AS confidence
      FROM (SELECT item_row, source_row, unnest(categories) AS name,
          unnest(coalesce(confidences, list_transform(categories, lambda c: NULL::VARCHAR)))
            AS confidence_text
        FROM items WHERE NOT mismatched) WHERE name IS NOT NULL`);
    await this.#stager.reportValues('items', source, [badConfidence('item_category_stage')]);
    await this.#database.run(`CREATE TABLE item_category_good AS
      SELECT item_row, name, least(max(confidence), 1)::FLOAT AS confidence
      FROM item_category_stage
      WHERE ${goodConfidence('confidence')} GROUP BY item_row, name`);
    await this.#database.run(`CREATE TABLE categories AS
      SELECT (row_number() OVER (ORDER BY name) - 1)::INTEGER AS category, name
      FROM (SELECT DISTINCT name FROM item_category_good) ORDER BY category`);
    await this.#database.run(`CREATE TABLE item_categories AS
      SELECT item_row AS item, category, confidence
      FROM item_category_good JOIN categories USING (name)
      ORDER BY item, confidence DESC, category`);
  }

  async stageUsers(): Promise<void> {
    const source = await this.#stager.open('users');
    if (source === undefined) return;
    await this.#stager.stage('users', source, {
      'malformed line': { breaks: 'malformed', detail: 'NULL' },
      'missing user': { breaks: '"user" IS NULL', detail: 'NULL' },
    });
    await this.#stager.rejectDuplicates('users', '"user"', 'duplicate user id');
    await this.#stager.reportRows('users', source);
    await this.#stager.reportValues('users', source, [badAge('users_stage')]);
  }

  async stageRequests(): Promise<void> {
    const source = await this.#stager.open('requests');
    if (source === undefined) return;
    await this.#stager.stage('requests', source, requestRules(this.#plan.requests!));
    await this.#stager.rejectDuplicates('requests', 'id', 'duplicate request id');
    for (const field of ['positives', 'delivered'])
      await this.#database.run(`CREATE TABLE request_${field} AS
        SELECT r.source_row, r.name, items.item_row, r.rank
        FROM (SELECT source_row, unnest(${field}) AS name, unnest(range(len(${field}))) AS rank
          FROM requests_stage WHERE reason IS NULL) AS r LEFT JOIN items ON items.id = r.name
        WHERE r.name IS NOT NULL`);
    await this.#database.run(`UPDATE requests_stage SET reason = 'empty positives',
        detail = array_to_string(positives, '|')
      WHERE reason IS NULL AND source_row NOT IN
        (SELECT source_row FROM request_positives WHERE item_row IS NOT NULL)`);
    await this.#stager.reportRows('requests', source);
    await this.#stager.reportValues('requests', source, [
      ...['positives', 'delivered'].map((field) => ({
        reason: `unknown item in ${field}`,
        sql: `SELECT source_row, name AS detail FROM request_${field}
          WHERE item_row IS NULL`,
      })),
      badAge('requests_stage'),
    ]);
    await this.#database.run(`CREATE TABLE request_interests AS
      SELECT source_row, name, confidence_text, rank,
        ${confidenceOf(source.fields.has('interestConfidences'))} AS confidence
      FROM (SELECT source_row, unnest(interests) AS name,
          unnest(range(len(interests))) AS rank,
          unnest(coalesce(interestConfidences,
            list_transform(interests, lambda c: NULL::VARCHAR))) AS confidence_text
        FROM requests_stage WHERE reason IS NULL)
      WHERE name IS NOT NULL`);
    await this.#stager.reportValues('requests', source, [badConfidence('request_interests')]);
  }

  /** Makes users, with rows by id: everyone who has an event, a row of attributes or a request. */
  async finishUsers(): Promise<void> {
    const parts = ['SELECT "user" FROM events_stage WHERE reason IS NULL'];
    const attributes = this.#stager.source('users') !== undefined;
    if (attributes) parts.push('SELECT "user" FROM users_stage WHERE reason IS NULL');
    if (this.#stager.source('requests') !== undefined)
      parts.push('SELECT "user" FROM requests_stage WHERE reason IS NULL AND "user" IS NOT NULL');
    const columns = attributes
      ? `${goodAge('u')} AS age, coalesce(u.gender, '') AS gender,
          coalesce(u.country, '') AS country`
      : "NULL::FLOAT AS age, '' AS gender, '' AS country";
    const join = attributes
      ? 'LEFT JOIN (FROM users_stage WHERE reason IS NULL) AS u ON u."user" = ids."user"'
      : '';
    await this.#database.run(`CREATE TABLE users AS
      SELECT (row_number() OVER (ORDER BY ids."user") - 1)::INTEGER AS user_row,
        ids."user" AS id, ${columns}
      FROM (SELECT DISTINCT "user" FROM (${parts.join(' UNION ALL ')})) AS ids
      ${join} ORDER BY user_row`);
  }

  /** Makes requests, with rows of items and users, by (time, id). */
  async finishRequests(): Promise<void> {
    if (this.#stager.source('requests') === undefined) {
      await this.#database.run(`CREATE TABLE requests (id VARCHAR, "user" INTEGER, time DOUBLE,
        surface VARCHAR, subject_kind VARCHAR, subject_item INTEGER, query VARCHAR,
        interests VARCHAR[], interest_confidences FLOAT[], positives INTEGER[],
        delivered INTEGER[], age FLOAT, gender VARCHAR, country VARCHAR, slice VARCHAR)`);
      return;
    }
    const rowsOf = (field: string): string =>
      `(SELECT source_row, list(item_row ORDER BY rank) AS item_rows
        FROM (SELECT source_row, item_row, min(rank) AS rank FROM request_${field}
          WHERE item_row IS NOT NULL GROUP BY ALL)
        GROUP BY source_row)`;
    await this.#database.run(`CREATE TABLE requests AS
      SELECT r.id, coalesce(users.user_row, -1)::INTEGER AS "user", r.time,
        coalesce(r.surface, CASE WHEN r.query IS NULL THEN 'related' ELSE 'search' END)
          AS surface,
        CASE WHEN r.subjectItem IS NOT NULL THEN 'item' WHEN r.query IS NOT NULL THEN 'query'
             WHEN i.names IS NOT NULL THEN 'interests' ELSE 'none' END AS subject_kind,
        coalesce(subject.item_row, -1)::INTEGER AS subject_item, coalesce(r.query, '') AS query,
        coalesce(i.names, []) AS interests, coalesce(i.confidences, []) AS interest_confidences,
        p.item_rows AS positives, coalesce(d.item_rows, []) AS delivered,
        ${goodAge('r')} AS age, r.gender, r.country, coalesce(r.slice, '') AS slice
      FROM requests_stage AS r
      JOIN ${rowsOf('positives')} AS p USING (source_row)
      LEFT JOIN ${rowsOf('delivered')} AS d USING (source_row)
      LEFT JOIN (SELECT source_row, list(name ORDER BY confidence DESC, rank) AS names,
          list(confidence ORDER BY confidence DESC, rank) AS confidences
        FROM (SELECT source_row, name, least(max(confidence), 1)::FLOAT AS confidence,
            min(rank) AS rank
          FROM request_interests WHERE ${goodConfidence('confidence')}
          GROUP BY source_row, name)
        GROUP BY source_row) AS i USING (source_row)
      LEFT JOIN users ON users.id = r."user"
      LEFT JOIN items AS subject ON subject.id = r.subjectItem
      WHERE r.reason IS NULL ORDER BY r.time, r.id`);
  }

  /** Makes events, by (user, time, position, source order), and counts all tables. */
  async finish(): Promise<BuiltTables> {
    const source = this.#stager.source('events')!;
    const hasTime = source.fields.has('time');
    await this.#stager.reportRows('events', source);
    const defaultAction = literal(DEFAULT_ACTION);
    const actions = await this.#database.rows(
      `SELECT DISTINCT coalesce(action, ${defaultAction}) AS name FROM events_stage
       WHERE reason IS NULL ORDER BY name`,
    );
    const actionNames = actions.map((row) => String(row['name']));
    // Not a join: a million events of one action make one chain of a million in a hash table.
    const action =
      actionNames.length === 1
        ? '0::INTEGER'
        : `(list_position(${literalList(actionNames)},
            coalesce(e.action, ${defaultAction})) - 1)::INTEGER`;
    const order = source.fields.has('position') ? 'e.position, e.source_row' : 'e.source_row';
    const time = hasTime
      ? 'e.time'
      : source.fields.has('position')
        ? 'e.position'
        : '(row_number() OVER (PARTITION BY users.user_row ORDER BY e.source_row) - 1)::DOUBLE';
    await this.#database.run(`CREATE TABLE events AS
      SELECT users.user_row AS "user", items.item_row AS item, ${time} AS time,
        ${action} AS action, coalesce(e.value, 1)::FLOAT AS value
      FROM events_stage AS e
      JOIN users ON users.id = e."user" JOIN items ON items.id = e.item
      WHERE e.reason IS NULL ORDER BY users.user_row, ${hasTime ? 'e.time, ' : ''}${order}`);
    const range = (
      await this.#database.rows('SELECT min(time) AS a, max(time) AS b FROM events')
    )[0]!;
    const count = (table: string): Promise<number> =>
      this.#database.number(`SELECT count(*) FROM ${table}`);
    const counts = {
      items: await count('items'),
      categories: await count('categories'),
      itemCategories: await count('item_categories'),
      users: await count('users'),
      events: await count('events'),
      requests: await count('requests'),
    };
    this.#stager.addExcluded(this.#plan.excluded ?? []);
    return {
      selects: {
        'items.parquet': 'SELECT id, title, advertiser, price, countries FROM items',
        'categories.parquet': 'SELECT name FROM categories',
        'item-categories.parquet': 'SELECT item, category, confidence FROM item_categories',
        'users.parquet': 'SELECT id, age, gender, country FROM users',
        'events.parquet': 'SELECT "user", item, time, action, value FROM events',
        'requests.parquet': 'SELECT * FROM requests',
      },
      counts,
      sourceRows: this.#stager.sourceRows,
      rejected: this.#stager.rejected,
      hasTime,
      actionNames,
      timeRange: [Number(range['a']), Number(range['b'])],
    };
  }
}

function requestRules(plan: TableSource): RowRules {
  const subjects = 'subjectItem IS NOT NULL, query IS NOT NULL, len(coalesce(interests, [])) > 0';
  return {
    'malformed line': { breaks: 'malformed', detail: 'NULL' },
    'missing request id': { breaks: 'id IS NULL', detail: 'NULL' },
    ...timeRules(plan),
    'unknown surface': { breaks: `surface NOT IN ('related', 'search')`, detail: 'surface' },
    'ambiguous subject': {
      breaks: `len(list_filter([${subjects}], lambda given: given)) > 1`,
      detail: `concat_ws(', ', subjectItem, query, array_to_string(interests, '|'))`,
    },
    'unknown subject item': {
      breaks: 'subjectItem NOT IN (SELECT id FROM items)',
      detail: 'subjectItem',
    },
    'confidences do not match interests': {
      breaks:
        'interestConfidences IS NOT NULL ' +
        'AND len(interestConfidences) <> len(coalesce(interests, []))',
      detail:
        `len(coalesce(interests, [])) || ' interests, ' || ` +
        `len(interestConfidences) || ' confidences'`,
    },
  };
}

/** The times that POST /v1/events takes, for a source whose times have a known unit. */
function timeRules({ columns }: TableSource): RowRules {
  const outside = [`time < ${EARLIEST_SECONDS}`, `time > ${LARGEST_SECONDS}`];
  if (['ms', 'us'].includes(columns['time']!.unit ?? 'iso'))
    outside.push(`time < ${SMALLEST_SCALED_SECONDS}`);
  return {
    'missing time': { breaks: 'time IS NULL AND time_text IS NULL', detail: 'NULL' },
    'unparsable time': { breaks: 'time IS NULL OR NOT isfinite(time)', detail: 'time_text' },
    'time out of range': { breaks: outside.join(' OR '), detail: 'time_text' },
    'time in the future': { breaks: `time > ${latestSeconds()}`, detail: 'time_text' },
  };
}

/** A confidence as a number; 1 when the source has no column of confidences. */
function confidenceOf(mapped: boolean): string {
  return mapped ? 'try_cast(confidence_text AS DOUBLE)' : '1.0::DOUBLE';
}

function goodConfidence(column: string): string {
  return `coalesce(isfinite(${column}) AND ${column}::FLOAT > 0, false)`;
}

function badConfidence(table: string): ValueCheck {
  return {
    reason: 'bad confidence',
    sql: `SELECT source_row,
        name || ' ' || coalesce(confidence_text, 'missing') AS detail
      FROM ${table} WHERE NOT ${goodConfidence('confidence')}`,
  };
}

function goodAge(table: string): string {
  return `CASE WHEN ${table}.age BETWEEN 0 AND ${MAX_AGE_YEARS} THEN ${table}.age::FLOAT END`;
}

function badAge(stage: string): ValueCheck {
  return {
    reason: 'bad age',
    sql: `SELECT source_row, age_text AS detail FROM ${stage}
      WHERE reason IS NULL AND age_text IS NOT NULL
        AND NOT coalesce(age BETWEEN 0 AND ${MAX_AGE_YEARS}, false)`,
  };
}
