// What an import takes, requests can name: an id in a file of any format and the same value in a
// request are one id, or both are refused.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import fc from 'fast-check';
import { Database, literal } from '../src/data/duckdb.ts';
import { openSource } from '../src/data/sources.ts';
import { TandemError } from '../src/errors.ts';
import {
  parseDeleteItems,
  parseIngest,
  parsePutItems,
} from '../src/serve/request/change-requests.ts';
import { parseFrame } from '../src/serve/request/frames.ts';
import { parseCandidates, parseScore } from '../src/serve/request/query-requests.ts';

const folder = mkdtempSync(join(tmpdir(), 'tandem-ids-'));
let database: Database;
let files = 0;
before(async () => {
  database = await Database.open();
});
after(() => {
  database.close();
  rmSync(folder, { recursive: true });
});

type Format = 'csv' | 'ndjson' | 'parquet';

/** The users that an import reads from a file of events, by row; null where there is none. */
async function importedUsers(format: Format, write: (path: string) => unknown): Promise<unknown[]> {
  const path = join(folder, `${files++}.${format}`);
  await write(path);
  const columns = { user: { column: 'u' }, item: { column: 'i' } };
  const source = await openSource(database, 'events', { files: [path], columns }, folder);
  const rows = await database.rows(
    `SELECT item, "user" AS u, user_received AS r FROM (${source.select}) ORDER BY item::INTEGER`,
  );
  const users: unknown[] = [];
  for (const { item, u, r } of rows) {
    assert.ok(u === null || r === null);
    if (item !== null) users[Number(item)] = u;
  }
  return users;
}

const lines = (rows: readonly string[]): string => rows.map((row) => `${row}\n`).join('');

const WRITERS: Readonly<
  Record<Format, (path: string, values: readonly unknown[], type: string) => unknown>
> = {
  csv: (path, values) => {
    const cells = values.map((value) => `"${String(value).replaceAll('"', '""')}"`);
    writeFileSync(path, lines(['u,i', ...cells.map((cell, i) => `${cell},${i}`)]));
  },
  ndjson: (path, values) => {
    // The last line makes sure that the file has the columns.
    writeFileSync(path, lines([...values, 'u1'].map((u, i) => JSON.stringify({ u, i }))));
  },
  parquet: async (path, values, type) => {
    const rows = values.map((value, i) => `(${literal(String(value))}::${type}, ${i})`).join(', ');
    await database.run(
      `COPY (SELECT * FROM (VALUES ${rows}) AS t(u, i)) TO ${literal(path)} (FORMAT parquet)`,
    );
  },
};

/** What `parse` gives; null when it refuses the value. */
function accepted(parse: () => unknown): unknown {
  try {
    return parse();
  } catch (error) {
    assert.ok(error instanceof TandemError, String(error));
    assert.equal(error.code, 'ERR_INVALID_REQUEST');
    return null;
  }
}

/** The id that requests mean by a value, which is the same at every door; null when refused. */
function requestedId(value: unknown): unknown {
  const ask = { user: 'u', surface: 'related' };
  const doors: readonly (() => unknown)[] = [
    () => parseCandidates({ ...ask, user: value }).user,
    () => parseCandidates({ ...ask, subject: { item: value } }).subject!.item,
    () => parseCandidates({ ...ask, filter: { exclude_items: [value] } }).filter!.exclude_items![0],
    () => parseScore({ ...ask, items: [value] }).items[0],
    () => (parseFrame({ type: 'hello', user: value }) as { user: string }).user,
    () => parseIngest({ events: [{ user: value, item: 'i' }] })[0]!.user,
    () => parseIngest({ events: [{ user: 'u', item: value }] })[0]!.item,
    () => parsePutItems({ items: [{ item: value }] })[0]!.item,
    () => parsePutItems({ items: [{ item: 'i', advertiser: value }] })[0]!.record!.advertiser,
    () => parseDeleteItems({ items: [value] })[0]!.item,
  ];
  const ids = new Set(doors.map(accepted));
  assert.equal(ids.size, 1, `${JSON.stringify(value)} is ${[...ids].join(' and ')}`);
  return [...ids][0];
}

const text = fc.oneof(
  fc.constantFrom('u1', ' u1 ', '17850', '17850.0', '-0.0', '1.5', 'nan', 'NaN', '1.7e+18', '5e12'),
  fc.constantFrom(
    'a\tb',
    '\u00a0',
    'é',
    '1'.repeat(1024),
    '1'.repeat(1025),
    'é'.repeat(513),
    'null',
  ),
  fc.string({ unit: 'grapheme' }),
);
const number = fc.oneof(fc.constantFrom(17850, -0, 1.5, 2 ** 53 - 1), fc.integer(), fc.double());
const nested = fc.constantFrom<unknown>({ id: 'u1' }, ['u1'], [], {}, true, false, null);
/** Many values to a file, because opening it takes longest. */
const MANY = { minLength: 1, maxLength: 200, size: 'max' } as const;

const COLUMNS: readonly (readonly [Format, string, fc.Arbitrary<unknown>])[] = [
  ['csv', 'text', text],
  // Half of a surrogate pair makes the line malformed.
  ['ndjson', 'text', fc.oneof(text, nested, fc.constant('\ud83d'))],
  [
    'ndjson',
    'numbers',
    number.filter((n) => Number.isSafeInteger(n) || !/^-?\d+$/.test(String(n))),
  ],
  ['parquet', 'VARCHAR', text],
  ['parquet', 'DOUBLE', number],
  ['parquet', 'FLOAT', fc.oneof(fc.float(), fc.integer({ min: -(2 ** 24) + 1, max: 2 ** 24 - 1 }))],
  ['parquet', 'TINYINT', fc.integer({ min: -128, max: 127 })],
  ['parquet', 'UINTEGER', fc.integer({ min: 0, max: 2 ** 32 - 1 })],
  ['parquet', 'BIGINT', fc.maxSafeInteger()],
  ['parquet', 'HUGEINT', fc.maxSafeInteger()],
  ['parquet', 'DECIMAL(20,4)', fc.integer({ min: -1e8, max: 1e8 }).map((n) => n / 4)],
  ['parquet', 'UUID', fc.uuid()],
];

for (const [format, type, value] of COLUMNS)
  test(`an id in ${format} ${type} is the same in requests`, async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(value, MANY), async (values) => {
        // A file of floats of 32 bits has no integer beyond 2^24 that is sure to be exact.
        const isExact = (n: unknown): boolean =>
          type !== 'FLOAT' || !Number.isInteger(n) || Math.abs(n as number) < 2 ** 24;
        const kept = values.filter(isExact);
        if (kept.length === 0) return;
        const users = await importedUsers(format, (path) => WRITERS[format](path, kept, type));
        for (const [i, one] of kept.entries())
          assert.equal(users[i] ?? null, requestedId(one), `${JSON.stringify(one)} in ${format}`);
      }),
      { numRuns: 10 },
    );
  });

test('an integer of any length in a file can be named as text', async () => {
  const digits = ['1795641378000000001', '-9007199254740993', '9'.repeat(30)];
  const rows = digits.map((number, i) => `{"u":${number},"i":${i}}`);
  const users = await importedUsers('ndjson', (path) => {
    writeFileSync(path, lines(rows));
  });
  assert.deepEqual(users, digits);
  assert.deepEqual(digits.map(requestedId), digits);
  assert.throws(
    () => parseCandidates(JSON.parse('{"user":1795641378000000001,"surface":"related"}')),
    /Expected text or an integer for user, received a number that .* exactly\. Send it as text\.$/,
  );
});

test('a request that names no id is refused with the kind that came', () => {
  const cases: readonly (readonly [unknown, RegExp])[] = [
    [{ id: 'u1' }, /^Expected text or an integer for user, received an object\.$/],
    [['u1'], /received a list\.$/],
    [true, /received a boolean\.$/],
    [null, /received nothing\.$/],
    [undefined, /received nothing\.$/],
    ['', /^Expected at least 1 character for user\.$/],
    [' ', /^Expected at least 1 character for user\.$/],
    [1.5, /received a number with a fraction\. Send it as text\.$/],
    ['\ud83d', /received text that is not valid Unicode\.$/],
    ['u\u0000', /received a control character\.$/],
    ['u'.repeat(1025), /received more than 1024 bytes\.$/],
  ];
  for (const [user, message] of cases)
    assert.throws(() => parseCandidates({ user, surface: 'related' }), { message });
});
