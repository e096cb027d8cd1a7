// The pre-processed sets of S3-Rec (Amazon Beauty and Sports, Yelp) as Parquet: events.parquet
// (user_id, item_id, position, timestamp_s) and items.parquet (item_id, categories). Reviews stand
// for purchases; attributes have no names.

import { basename } from 'node:path';
import { fileLiteral } from '../duckdb.ts';
import { fillTimes } from './fill-times.ts';
import type { Adapter } from './adapter.ts';

export const s3rec: Adapter = {
  name: 's3rec',
  description:
    'folder with events.parquet and items.parquet in the form of S3-Rec ' +
    '(Amazon Beauty, Sports, Yelp)',
  async prepare(database, files) {
    const events = files.file('events.parquet');
    const items = files.file('items.parquet');
    await database.run(`CREATE TABLE s3rec_raw AS
      SELECT row_number() OVER () AS source_row, user_id, item_id, position,
        timestamp_s::DOUBLE AS time
      FROM read_parquet(${fileLiteral(events)})`);
    // Users are numbered in the order of the published file. A few have no time at all and take
    // that of a neighbour.
    const userOrder = 'try_cast(user_id AS BIGINT), user_id';
    const filled = fillTimes('s3rec_raw', 'user_id', 'position', userOrder);
    await database.run(`CREATE TABLE s3rec_events AS ${filled} ORDER BY source_row`);
    // Confidence is the inverse document frequency, 1 for the rarest attribute of an item.
    await database.run(`CREATE TABLE s3rec_items AS
      WITH items AS (
          SELECT row_number() OVER () AS source_row, item_id, categories
          FROM read_parquet(${fileLiteral(items)})),
        entries AS (SELECT source_row, unnest(categories) AS category FROM items),
        weighted AS (
          SELECT category, ln(1 + (SELECT count(*) FROM items) / count(*)) AS idf
          FROM entries GROUP BY category),
        lists AS (
          SELECT source_row, list(category ORDER BY idf DESC, category) AS categories,
            list(idf / top ORDER BY idf DESC, category) AS confidences
          FROM (SELECT source_row, category, idf, max(idf) OVER (PARTITION BY source_row) AS top
            FROM entries JOIN weighted USING (category)) GROUP BY source_row)
      SELECT source_row, item_id, lists.categories, lists.confidences
      FROM items LEFT JOIN lists USING (source_row) ORDER BY source_row`);
    return {
      name: `s3rec-${basename(files.path)}`,
      events: {
        relation: 's3rec_events',
        label: basename(events),
        columns: {
          user: { column: 'user_id' },
          item: { column: 'item_id' },
          time: { column: 'time', unit: 's' },
          position: { column: 'position' },
        },
      },
      items: {
        relation: 's3rec_items',
        label: basename(items),
        columns: {
          item: { column: 'item_id' },
          categories: { column: 'categories' },
          confidences: { column: 'confidences' },
        },
      },
    };
  },
};
