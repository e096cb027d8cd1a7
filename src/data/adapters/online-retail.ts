// UCI Online Retail (archive data set 352, `Online Retail.xlsx`): purchases of one shop's
// registered customers. Reads the table as Parquet, or as a CSV export of the sheet with the same
// column names.

import { basename } from 'node:path';
import { TandemError } from '../../errors.ts';
import { fileLiteral, literal, literalList, type Database } from '../duckdb.ts';
import { csvRelation } from '../scan/scan-text.ts';
import { NOT_UTF8 } from '../text/text-table.ts';
import type { Adapter } from './adapter.ts';

/** 2011-11-10T00:00:00Z: the last month of the data is for testing. */
const TEST_FROM_SECONDS = Date.UTC(2011, 10, 10) / 1000;
const MAX_WORDS_PER_ITEM = 8;
const MIN_ITEMS_PER_WORD = 2;
const MIN_WORD_LENGTH = 3;
const STOP_WORDS = [
  'and',
  'asst',
  'assorted',
  'for',
  'from',
  'set',
  'the',
  'with',
  'pack',
  'pcs',
  'piece',
];
/** The published columns that the adapter reads. */
const COLUMNS = [
  'InvoiceNo',
  'StockCode',
  'Description',
  'Quantity',
  'InvoiceDate',
  'UnitPrice',
  'CustomerID',
  'Country',
] as const;
/** Formats of dates in exports of the sheet, tried in this order. */
const DATE_FORMATS = [
  '%Y-%m-%d %H:%M:%S',
  '%Y-%m-%d %H:%M',
  '%m/%d/%Y %H:%M',
  '%m/%d/%y %H:%M',
  '%Y-%m-%dT%H:%M:%S',
];

export const onlineRetail: Adapter = {
  name: 'online-retail',
  description:
    'UCI Online Retail: its table as .parquet, a .csv export of the published .xlsx, or the folder',
  async prepare(database, files) {
    if (!files.isFolder && /\.xlsx?$/i.test(files.path))
      throw new TandemError(
        'ERR_DATASET_INVALID',
        `Expected Online Retail as .csv or .parquet, received ${basename(files.path)}. ` +
          'Export the sheet as CSV with its header and pass that file.',
      );
    const path = files.only(/\.(parquet|csv|csv\.gz)$/i, 'one .parquet or .csv file');
    const label = basename(path);
    await readLines(database, path);
    const bad =
      'invoice IS NULL OR item IS NULL OR "user" IS NULL OR cancelled ' +
      'OR NOT quantity > 0 OR NOT price > 0';
    await database.run(`CREATE TABLE retail_lines AS SELECT *, quantity * price AS value
      FROM retail_raw WHERE NOT coalesce(${bad}, true) ORDER BY source_row`);
    await items(database);
    await database.run(`CREATE TABLE retail_users AS
      SELECT "user", arg_min(country, source_row) AS country
      FROM retail_lines GROUP BY "user" ORDER BY "user"`);
    // A request is an invoice: the item of its first line is the subject, the others are the
    // positives.
    await database.run(`CREATE TABLE retail_requests AS
      SELECT invoice, arg_min("user", source_row) AS "user", min(time) AS time,
        arg_min(item, source_row) AS subject, list(item ORDER BY source_row) AS items,
        min(source_row) AS source_row
      FROM retail_lines GROUP BY invoice HAVING count(DISTINCT item) >= 2`);
    await database.run(`ALTER TABLE retail_requests ADD COLUMN positives VARCHAR[];
      UPDATE retail_requests SET positives = list_filter(items, lambda x: x <> subject)`);
    return {
      name: 'online-retail',
      testFrom: TEST_FROM_SECONDS,
      events: {
        relation: 'retail_lines',
        label,
        columns: {
          user: { column: 'user' },
          item: { column: 'item' },
          time: { column: 'time', unit: 's' },
          position: { column: 'source_row' },
          value: { column: 'value' },
        },
      },
      items: {
        relation: 'retail_items',
        label,
        columns: {
          item: { column: 'item' },
          title: { column: 'title' },
          price: { column: 'price' },
          categories: { column: 'words' },
          confidences: { column: 'confidences' },
        },
      },
      users: {
        relation: 'retail_users',
        label,
        columns: { user: { column: 'user' }, country: { column: 'country' } },
      },
      requests: {
        relation: 'retail_requests',
        label,
        columns: {
          id: { column: 'invoice' },
          user: { column: 'user' },
          time: { column: 'time', unit: 's' },
          subjectItem: { column: 'subject' },
          positives: { column: 'positives' },
        },
      },
      excluded: await excluded(database),
    };
  },
};

async function readLines(database: Database, path: string): Promise<void> {
  const select = (source: string, time: string): string => `CREATE TABLE retail_raw AS
    SELECT source_row, nullif(trim(InvoiceNo::VARCHAR), '') AS invoice,
      nullif(trim(StockCode::VARCHAR), '') AS item, trim(Description::VARCHAR) AS description,
      try_cast(Quantity AS DOUBLE) AS quantity, epoch(${time}) AS time,
      try_cast(UnitPrice AS DOUBLE) AS price,
      nullif(regexp_replace(trim(CustomerID::VARCHAR), '\\.0+$', ''), '') AS "user",
      trim(Country::VARCHAR) AS country,
      coalesce(InvoiceNo::VARCHAR ILIKE 'C%', false) AS cancelled
    FROM ${source}`;
  if (path.endsWith('.parquet')) {
    const rows = `(SELECT *, row_number() OVER () AS source_row
      FROM read_parquet(${fileLiteral(path)}, hive_partitioning = false))`;
    await database.run(select(rows, 'InvoiceDate::TIMESTAMP'));
    return;
  }
  const time = `try_strptime(trim(InvoiceDate), ${literalList(DATE_FORMATS)})`;
  const csv = async (encoding: 'utf-8' | 'latin-1'): Promise<string> =>
    select(await csvRelation(database, path, { encoding }, COLUMNS), time);
  try {
    await database.run(await csv('utf-8'));
  } catch (error) {
    // The file may be in Latin-1: spreadsheets export the pound sign so.
    if (!(error instanceof TandemError) || error.details['reason'] !== NOT_UTF8) throw error;
    await database.run(await csv('latin-1'));
  }
}

/**
 * Makes one row per item that a known customer bought: its commonest description (of equals, the
 * later), its median price, and the words of the description weighted by tf-idf, where the heaviest
 * word is 1.
 */
async function items(database: Database): Promise<void> {
  const stopWords = STOP_WORDS.map(literal).join(', ');
  await database.run(`CREATE TABLE retail_items AS
    WITH described AS (
      SELECT item, description, count(*) AS times, max(source_row) AS latest
      FROM retail_lines GROUP BY item, description),
    titled AS (
      SELECT item, first(description ORDER BY times DESC, latest DESC) AS title
      FROM described GROUP BY item),
    tokens AS (
      SELECT item, unnest(regexp_split_to_array(lower(title), '[^a-z0-9'']+')) AS token
      FROM titled),
    words AS (
      SELECT item, regexp_replace(regexp_replace(regexp_replace(replace(token, '''', ''),
          '([^aeiou])ies$', '\\1y'), '(x|ch|sh|ss)es$', '\\1'), '([^sui])s$', '\\1') AS word
      FROM tokens WHERE NOT regexp_matches(token, '[0-9]')),
    kept AS (
      SELECT item, word, count(*) AS frequency FROM words
      WHERE length(word) >= ${MIN_WORD_LENGTH} AND word NOT IN (${stopWords})
      GROUP BY item, word),
    common AS (
      SELECT word, ln((SELECT count(*) FROM titled) / count(*)) AS idf
      FROM kept GROUP BY word HAVING count(*) >= ${MIN_ITEMS_PER_WORD}),
    ranked AS (
      SELECT item, word, frequency * idf AS weight,
        row_number() OVER (PARTITION BY item ORDER BY frequency * idf DESC, word) AS rank
      FROM kept JOIN common USING (word) WHERE idf > 0),
    lists AS (
      SELECT item, list(word ORDER BY rank) AS words,
        list(weight / top ORDER BY rank) AS confidences
      FROM (SELECT *, max(weight) OVER (PARTITION BY item) AS top FROM ranked)
      WHERE rank <= ${MAX_WORDS_PER_ITEM} GROUP BY item),
    priced AS (
      SELECT item, median(price) AS price, min(source_row) AS source_row
      FROM retail_lines GROUP BY item)
    SELECT source_row, item, title, price, words, confidences
    FROM titled JOIN priced USING (item) LEFT JOIN lists USING (item) ORDER BY item`);
}

/** Counts the rows that the import leaves out, each under the first reason that holds. */
async function excluded(
  database: Database,
): Promise<{ table: 'events'; reason: string; count: number }[]> {
  const rows = await database.rows(`SELECT reason, count(*) AS count FROM (
      SELECT CASE WHEN invoice IS NULL OR item IS NULL THEN 'no invoice or stock code'
        WHEN cancelled THEN 'cancelled invoice' WHEN "user" IS NULL THEN 'no customer'
        WHEN NOT coalesce(quantity > 0, false) THEN 'quantity not above 0'
        WHEN NOT coalesce(price > 0, false) THEN 'price not above 0' END AS reason FROM retail_raw)
    WHERE reason IS NOT NULL GROUP BY reason ORDER BY reason`);
  return rows.map((row) => ({
    table: 'events',
    reason: String(row['reason']),
    count: Number(row['count']),
  }));
}
