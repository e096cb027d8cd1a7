import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import fc from 'fast-check';
import { MAX_ID_BYTES, MAX_TEXT_BYTES, WHITE_SPACE, readId, readText } from '../../ids.ts';
import { Database, literal } from '../duckdb.ts';
import { readCell, readListCell, type ReadCell } from './id-sql.ts';

let database: Database;
before(async () => {
  database = await Database.open();
});
after(() => {
  database.close();
});

/** A query takes as long for many cells as for one. */
const MANY = { minLength: 1, maxLength: 100, size: 'max' } as const;
const FEW_RUNS = { numRuns: 20 };

type Verdict = readonly [value: unknown, received: unknown];

/** The verdicts of SQL over cells, each an SQL expression. */
async function verdicts(
  cells: readonly string[],
  type: string,
  read: ReadCell,
): Promise<readonly Verdict[]> {
  const rows = cells.map((cell, i) => `(${i}, ${cell})`).join(', ');
  const found = await database.rows(`SELECT ${read.value} AS v, ${read.received} AS r
    FROM (SELECT i, c::${type} AS c FROM (VALUES ${rows}) AS t(i, c)) ORDER BY i`);
  return found.map(({ v, r }) => [v, r]);
}

/** The verdict of ids.ts in the form of an import, where a missing value is NULL. */
function expected(value: unknown, read = readId): Verdict {
  const found = read(value);
  if (typeof found === 'string') return [found === '' ? null : found, null];
  return [null, found.missing ? null : found.received];
}

async function checkAll(
  values: readonly unknown[],
  type: string,
  cellOf: (value: never) => string,
  kind: 'id' | 'text' = 'id',
): Promise<void> {
  const cells = values.map((value) => cellOf(value as never));
  assert.deepEqual(
    await verdicts(cells, type, readCell(kind, 'c', type)!),
    values.map((value) => expected(value, kind === 'id' ? readId : readText)),
  );
}

/** VARCHAR of any Unicode text, NUL included. */
const textCell = (text: string): string => `decode(unhex('${Buffer.from(text).toString('hex')}'))`;
const jsonCell = (value: unknown): string => literal(JSON.stringify(value));

const oddTexts = [
  ...[
    '',
    ' ',
    'nan',
    'NaN',
    'NAN',
    'inf',
    'null',
    'u1',
    'a b',
    '.',
    '.0',
    '1.',
    '1.0',
    '1.00',
    '-1.0',
  ],
  ...[
    '-0.0',
    '0.0',
    '00.0',
    '007',
    '007.0',
    '1.10',
    '+1.0',
    '1.0.0',
    ' 5.0 ',
    '1e5',
    '1e+5',
    '1.5e5',
  ],
  ...[
    '1.7E+18',
    '1.7E18',
    '-1.7e18',
    'x1e+5',
    '12e+5',
    'é',
    'e\u0301',
    '\u200b',
    'a\u0000',
    '\u0000',
  ],
  ...[
    'a\tb',
    '\ta',
    'a\u007f',
    '\u0085',
    '\u2028a\u2028b',
    '\ufeffx',
    '{"a":1}',
    "'",
    '\\',
    '\\1',
    '$1',
  ],
  ...[MAX_ID_BYTES, MAX_TEXT_BYTES].flatMap((most) =>
    [most - 1, most, most + 1].flatMap((count) => ['x'.repeat(count), 'é'.repeat(count / 2)]),
  ),
  `${' '.repeat(MAX_TEXT_BYTES)}x`,
  `${'9'.repeat(MAX_ID_BYTES - 2)}.0`,
  ...Array.from(WHITE_SPACE),
];
const text = fc.oneof(
  fc.constantFrom(...oddTexts),
  fc.string({
    unit: fc.constantFrom('0', '1', '.', '-', '+', 'e', 'E', 'n', 'a', 'N', ' ', '\t', 'é'),
  }),
  fc.string({ unit: 'binary' }),
);

test('text has the verdict of ids.ts', async () => {
  await checkAll(oddTexts, 'VARCHAR', textCell);
  await checkAll(oddTexts, 'VARCHAR', textCell, 'text');
  await fc.assert(
    fc.asyncProperty(fc.array(text, MANY), async (texts) => {
      await checkAll(texts, 'VARCHAR', textCell);
      await checkAll(texts, 'VARCHAR', textCell, 'text');
    }),
    FEW_RUNS,
  );
});

test('JSON has the verdict of ids.ts over the parsed value', async () => {
  const value = fc.oneof(
    text,
    fc.double(),
    fc.integer(),
    fc.maxSafeInteger(),
    fc.constantFrom(
      -0,
      2 ** 53,
      2 ** 53 - 1,
      1e21,
      1.5,
      true,
      false,
      null,
      {},
      { id: 1 },
      [],
      ['u'],
    ),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(value, MANY), async (values) => {
      // JSON writes no NaN, and integers beyond 2^53 are the subject of the next test.
      const whole = values.filter(
        (v) => Number.isSafeInteger(v) || !/^-?\d+$/.test(JSON.stringify(v)),
      );
      if (whole.length === 0) return;
      await checkAll(whole, 'JSON', jsonCell);
      await checkAll(whole, 'JSON', jsonCell, 'text');
    }),
    FEW_RUNS,
  );
});

test('numbers in JSON keep all digits, whatever their form', async () => {
  const cases: readonly (readonly [string, string | null, string | null])[] = [
    ['17850.0', '17850', null],
    ['1e5', '100000', null],
    ['1795641378000000001', '1795641378000000001', null],
    ['123456789012345678901234567890', '123456789012345678901234567890', null],
    ['1795641378000000001.0', null, 'a number that floating point does not hold exactly'],
    ['1.5', null, 'a number with a fraction'],
    ['1e400', null, null],
    ['NaN', null, null],
    ['-Infinity', null, null],
  ];
  assert.deepEqual(
    await verdicts(
      cases.map(([json]) => literal(json)),
      'JSON',
      readCell('id', 'c', 'JSON')!,
    ),
    cases.map(([, value, received]) => [value, received]),
  );
});

test('columns of numbers have the verdict of ids.ts, and are never rounded', async () => {
  const doubles = [
    0,
    -0,
    17850,
    1.5,
    -3,
    2 ** 53 - 1,
    2 ** 53,
    1.7e18,
    1e300,
    NaN,
    Infinity,
    -Infinity,
  ];
  const doubleCell = (value: number): string => `'${value}'::DOUBLE`;
  await checkAll(doubles, 'DOUBLE', doubleCell);
  await fc.assert(
    fc.asyncProperty(fc.array(fc.double(), MANY), (values) =>
      checkAll(values, 'DOUBLE', doubleCell),
    ),
    FEW_RUNS,
  );
  const inexact = 'a number that floating point does not hold exactly';
  const types: readonly (readonly [string, string, Verdict])[] = [
    ['FLOAT', '16777215', ['16777215', null]],
    ['FLOAT', '16777217', [null, inexact]],
    ['TINYINT', '-128', ['-128', null]],
    ['UBIGINT', '18446744073709551615', ['18446744073709551615', null]],
    ['HUGEINT', "'-170141183460469231731687303715884105728'", [`-${2n ** 127n}`, null]],
    ['UHUGEINT', "'340282366920938463463374607431768211455'", [`${2n ** 128n - 1n}`, null]],
    ['DECIMAL(10,2)', '17850.00', ['17850', null]],
    ['DECIMAL(10,2)', '17850.50', [null, 'a number with a fraction']],
    ['DECIMAL(38,0)', '99999999999999999999999999999999999999', ['9'.repeat(38), null]],
    ['DECIMAL(4,2)', '0.00', ['0', null]],
  ];
  for (const [type, cell, verdict] of types)
    assert.deepEqual(await verdicts([cell, 'NULL'], type, readCell('id', 'c', type)!), [
      verdict,
      [null, null],
    ]);
});

test('bytes are the text that they hold in UTF-8', async () => {
  const blobs = ["'abc'::BLOB", "unhex('c3a9')", "unhex('ff')", "unhex('eda080')", 'NULL'];
  assert.deepEqual(await verdicts(blobs, 'BLOB', readCell('id', 'c', 'BLOB')!), [
    ['abc', null],
    ['é', null],
    [null, 'text that is not valid Unicode'],
    [null, 'text that is not valid Unicode'],
    [null, null],
  ]);
});

test('UUIDs and enumerations are text; other types hold no ids', async () => {
  const uuid = '6f1c0a8e-4a3b-4f6e-9d55-0c5d2f1f8a11';
  assert.deepEqual(await verdicts([`'${uuid}'`], 'UUID', readCell('id', 'c', 'UUID')!), [
    [uuid, null],
  ]);
  const colours = "ENUM('red', 'blue')";
  assert.deepEqual(await verdicts(["'red'"], colours, readCell('id', 'c', colours)!), [
    ['red', null],
  ]);
  for (const type of ['BOOLEAN', 'DATE', 'TIMESTAMP', 'TIME', 'INTERVAL', 'BIT', 'VARCHAR[]'])
    assert.equal(readCell('id', 'c', type), undefined, type);
  for (const type of ['STRUCT(a INTEGER)', 'MAP(VARCHAR, INTEGER)'])
    for (const read of [readCell('id', 'c', type), readListCell('c', `${type}[]`, '|')])
      assert.equal(read, undefined, type);
});

test('a list has one verdict for all its entries', async () => {
  const lists = async (cells: readonly string[], type: string): Promise<readonly Verdict[]> => {
    const read = readListCell('c', type, '|')!;
    return verdicts(cells, type, { ...read, value: `array_to_string(${read.value}, '+')` });
  };
  assert.deepEqual(await lists(["'a| 2.0 ||b'", "''", 'NULL'], 'VARCHAR'), [
    ['a+2+b', null],
    [null, null],
    [null, null],
  ]);
  const json = ['["a",2.0,null,""]', '"a|b"', '7', '[{"category":"a"}]', '{"a":1}', 'true', 'null'];
  assert.deepEqual(await lists(json.map(literal), 'JSON'), [
    ['a+2', null],
    ['a+b', null],
    ['7', null],
    [null, 'an object'],
    [null, 'an object'],
    [null, 'a boolean'],
    [null, null],
  ]);
  assert.deepEqual(await lists(["['a ', NULL, 'b']", "['a', 'b\n c']"], 'VARCHAR[]'), [
    ['a+b', null],
    ['a', 'a control character'],
  ]);
  assert.deepEqual(await lists(['[1.0, 2.0]', '[1.5, 2.0]'], 'DOUBLE[2]'), [
    ['1+2', null],
    ['2', 'a number with a fraction'],
  ]);
});
