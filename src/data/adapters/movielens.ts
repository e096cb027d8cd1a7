// MovieLens 100K (u.data, u.item, u.user) and 1M (ratings, movies.dat, users.dat). Every rating is
// an event, whatever its stars. Genres are categories of confidence 1/n; age and gender are real.
// Every rating but a user's first is also a request: its subject is the film that the user rated
// just before.

import { basename } from 'node:path';
import { fileLiteral, literal, type Database } from '../duckdb.ts';
import { csvRelation } from '../scan/scan-text.ts';
import type { RelationSource, SourcePlan } from '../sources.ts';
import { fillTimes } from './fill-times.ts';
import type { Adapter, AdapterFiles } from './adapter.ts';

/**
 * Begin of the test period. Users who have been known for a day or more give 96 % of the ratings
 * after it in 1M, and 23 % in 100K.
 */
const TEST_FROM = { '100k': Date.UTC(1998, 3, 1) / 1000, '1m': Date.UTC(2002, 0, 1) / 1000 };

/** Columns 6 to 24 of u.item, in the order of u.genre. */
const GENRES_100K = [
  'unknown',
  'Action',
  'Adventure',
  'Animation',
  "Children's",
  'Comedy',
  'Crime',
  'Documentary',
  'Drama',
  'Fantasy',
  'Film-Noir',
  'Horror',
  'Musical',
  'Mystery',
  'Romance',
  'Sci-Fi',
  'Thriller',
  'War',
  'Western',
];

export const movielens: Adapter = {
  name: 'movielens',
  description:
    'folder of MovieLens 100K (u.data, u.item, u.user) or 1M (ratings.dat or ' +
    'ratings_in_time_order.parquet, movies.dat, users.dat)',
  prepare(database, files) {
    if (files.has('u.data')) return prepare100k(database, files);
    if (files.has('movies.dat')) return prepare1m(database, files);
    throw files.missing('u.data (100K) or movies.dat (1M)');
  },
};

async function prepare100k(database: Database, files: AdapterFiles): Promise<SourcePlan> {
  const flags = GENRES_100K.map((_genre, i) => `g${i}`);
  const columns = ['item', 'title', 'released', 'video', 'url', ...flags];
  await database.run(`CREATE TABLE ml_events AS
    SELECT source_row, "user", item, rating, time
    FROM ${await text(database, files.file('u.data'), '\t', ['user', 'item', 'rating', 'time'])}`);
  const genres = GENRES_100K.map((name, i) => `CASE WHEN g${i} = '1' THEN ${literal(name)} END`);
  await database.run(`CREATE TABLE ml_items AS
    SELECT source_row, item, title,
      list_filter([${genres.join(', ')}], lambda genre: genre IS NOT NULL) AS genres
    FROM ${await text(database, files.file('u.item'), '|', columns)}`);
  const userColumns = ['user', 'age', 'gender', 'occupation', 'zip'];
  await database.run(`CREATE TABLE ml_users AS
    SELECT source_row, "user", age, gender
    FROM ${await text(database, files.file('u.user'), '|', userColumns)}`);
  return plan(database, '100k', 'u.data', 'u.item', 'u.user');
}

async function prepare1m(database: Database, files: AdapterFiles): Promise<SourcePlan> {
  let ratings = 'ratings.dat';
  if (files.has(ratings)) {
    await database.run(`CREATE TABLE ml_events AS
      SELECT source_row, "user", item, rating, time
      FROM ${await text(database, files.file(ratings), '::', ['user', 'item', 'rating', 'time'])}`);
  } else {
    ratings = 'ratings_in_time_order.parquet';
    await database.run(`CREATE TABLE ml_raw AS
      SELECT row_number() OVER () AS source_row, user_id AS "user",
        movie_id AS item, rating, position, timestamp_s::DOUBLE AS time
      FROM read_parquet(${fileLiteral(files.file(ratings))})`);
    const filled = fillTimes('ml_raw', '"user"', 'position', '"user"');
    await database.run(`CREATE TABLE ml_events AS ${filled} ORDER BY source_row`);
  }
  await database.run(`CREATE TABLE ml_items AS
    SELECT source_row, item, title, string_split(genres, '|') AS genres
    FROM ${await text(database, files.file('movies.dat'), '::', ['item', 'title', 'genres'])}`);
  // Published ages are the lower ends of brackets, and 1 means "under 18": 17 is in our first
  // bracket.
  const userColumns = ['user', 'gender', 'age', 'occupation', 'zip'];
  await database.run(`CREATE TABLE ml_users AS
    SELECT source_row, "user",
      CASE WHEN age = '1' THEN '17' ELSE age END AS age, gender
    FROM ${await text(database, files.file('users.dat'), '::', userColumns)}`);
  return plan(database, '1m', ratings, 'movies.dat', 'users.dat');
}

async function plan(
  database: Database,
  size: keyof typeof TEST_FROM,
  ratings: string,
  films: string,
  people: string,
): Promise<SourcePlan> {
  await database.run(
    `ALTER TABLE ml_items ADD COLUMN confidences DOUBLE[];
     UPDATE ml_items SET confidences = list_transform(genres, lambda genre: 1.0 / len(genres))`,
  );
  const positions = await database.number(
    `SELECT count(*) FROM duckdb_columns()
     WHERE table_name = 'ml_events' AND column_name = 'position'`,
  );
  const order = positions > 0 ? 'position' : 'time, source_row';
  await database.run(`CREATE TABLE ml_requests AS SELECT * FROM (
      SELECT source_row, "user", time,
        lag(item) OVER (PARTITION BY "user" ORDER BY ${order}) AS subject, [item] AS positives
      FROM ml_events) WHERE subject IS NOT NULL ORDER BY source_row`);
  const source = (
    relation: string,
    file: string,
    columns: RelationSource['columns'],
  ): RelationSource => ({
    relation,
    label: basename(file),
    columns,
  });
  return {
    name: `movielens-${size}`,
    testFrom: TEST_FROM[size],
    events: source('ml_events', ratings, {
      user: { column: 'user' },
      item: { column: 'item' },
      time: { column: 'time', unit: 's' },
      value: { column: 'rating' },
      ...(positions > 0 && { position: { column: 'position' } }),
    }),
    items: source('ml_items', films, {
      item: { column: 'item' },
      title: { column: 'title' },
      categories: { column: 'genres' },
      confidences: { column: 'confidences' },
    }),
    users: source('ml_users', people, {
      user: { column: 'user' },
      age: { column: 'age' },
      gender: { column: 'gender' },
    }),
    requests: source('ml_requests', ratings, {
      id: { column: 'source_row' },
      user: { column: 'user' },
      time: { column: 'time', unit: 's' },
      subjectItem: { column: 'subject' },
      positives: { column: 'positives' },
    }),
  };
}

/** A relation of a text file of GroupLens: Latin-1, no header, no quoting. */
function text(
  database: Database,
  path: string,
  delimiter: string,
  columns: readonly string[],
): Promise<string> {
  const csv = { delimiter, header: false, quote: '', encoding: 'latin-1', columns } as const;
  return csvRelation(database, path, csv, columns);
}
