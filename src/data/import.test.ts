import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import fc from 'fast-check';
import { TandemError } from '../errors.ts';
import { reportProgressTo } from '../telemetry.ts';
import type { Dataset } from './dataset.ts';
import { Database, identifier, literal } from './duckdb.ts';
import { importDataset, type ImportReport } from './import.ts';
import { parseManifest } from './manifest.ts';
import { readDataset } from './read-dataset.ts';

const root = mkdtempSync(join(tmpdir(), 'tandem-import-'));
after(() => {
  rmSync(root, { recursive: true, force: true });
});

function folder(): string {
  return mkdtempSync(join(root, 'case-'));
}

function write(directory: string, name: string, lines: readonly string[]): void {
  writeFileSync(join(directory, name), lines.map((line) => `${line}\n`).join(''));
}

interface Case {
  readonly files: Readonly<Record<string, readonly string[]>>;
  readonly manifest: Readonly<Record<string, unknown>>;
  readonly allowLoss?: boolean;
}

async function run(
  { files, manifest, allowLoss = false }: Case,
  directory: string = folder(),
  force = false,
): Promise<{ report: ImportReport; dataset: Dataset; directory: string }> {
  for (const [name, lines] of Object.entries(files)) write(directory, name, lines);
  const report = await importDataset({
    manifest: parseManifest({ name: 'case', ...manifest }, 'the test'),
    baseDirectory: directory,
    outputDirectory: join(directory, 'out'),
    force,
    allowLoss,
  });
  return { report, dataset: await readDataset(join(directory, 'out')), directory };
}

const EVENTS = {
  file: 'events.csv',
  columns: { user: 'user', item: 'item', time: { column: 'time', unit: 's' } },
};

function withCode(code: string, ...parts: readonly RegExp[]): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof TandemError, String(error));
    assert.equal(error.code, code);
    for (const part of parts) assert.match(error.message, part);
    return true;
  };
}

/** The content of a dataset in ids instead of rows, for comparison with the source. */
function eventsById(dataset: Dataset): unknown[] {
  const { events, users, items } = dataset;
  return Array.from({ length: events.count }, (_, e) => [
    users.ids[events.users[e]!],
    items.ids[events.items[e]!],
    events.times[e],
    events.actionNames[events.actions[e]!],
    events.values[e],
  ]);
}

describe('importDataset', () => {
  it('keeps the content of CSV, NDJSON and Parquet, whatever the column names', async () => {
    const id = fc
      .string({
        unit: fc.constantFrom('a', 'b', ',', 'é', '"', "'", '0', ' ', '|'),
        minLength: 1,
        maxLength: 4,
      })
      .map((text) => `x${text}x`);
    const columnName = fc.string({
      unit: fc.constantFrom('a', 'b', 'Z', '_', ' ', '.', '-', 'é', '1'),
      minLength: 1,
      maxLength: 8,
    });
    const event = fc.record({
      user: id,
      item: id,
      time: fc.integer({ min: 0, max: 1_700_000_000 }),
      action: fc.constantFrom('buy', 'view', 'add to cart'),
      value: fc.integer({ min: -1000, max: 1000 }).map((value) => value / 4),
    });
    const fields = ['user', 'item', 'time', 'action', 'value'] as const;
    await fc.assert(
      fc.asyncProperty(
        fc.array(event, { minLength: 1, maxLength: 20 }),
        // SQL ignores case, so names that differ in case alone are the same name.
        fc.uniqueArray(
          columnName.map((name) => `c${name}c`),
          {
            minLength: 5,
            maxLength: 5,
            selector: (name) => name.toLowerCase(),
          },
        ),
        fc.constantFrom('csv', 'ndjson', 'parquet'),
        async (events, names, format) => {
          const directory = folder();
          const file = `events.${format}`;
          if (format === 'csv')
            write(directory, file, [
              names.map(quoted).join(','),
              ...events.map((row) => fields.map((field) => quoted(String(row[field]))).join(',')),
            ]);
          else {
            write(
              directory,
              'events.ndjson',
              events.map((row) =>
                JSON.stringify(
                  Object.fromEntries(fields.map((field, i) => [names[i]!, row[field]])),
                ),
              ),
            );
            if (format === 'parquet') await toParquet(directory, 'events', names);
          }
          const { dataset } = await run(
            {
              files: {},
              manifest: {
                events: {
                  file,
                  columns: Object.fromEntries(
                    fields.map((field, i) => [
                      field,
                      field === 'time' ? { column: names[i]!, unit: 's' } : names[i]!,
                    ]),
                  ),
                },
              },
            },
            directory,
          );
          const expected = events
            .map((row, order) => ({ ...row, order }))
            .sort((a, b) => compare(a.user, b.user) || a.time - b.time || a.order - b.order)
            .map((row) => [row.user, row.item, row.time, row.action, row.value]);
          assert.deepEqual(eventsById(dataset), expected);
          assert.deepEqual(
            dataset.items.ids,
            [...new Set(events.map((row) => row.item))].sort(compare),
          );
          const { userOffsets, users } = dataset.events;
          for (let user = 0; user < dataset.users.count; user++)
            for (let e = userOffsets[user]!; e < userOffsets[user + 1]!; e++)
              assert.equal(users[e], user);
        },
      ),
      { numRuns: 25 },
    );
  });

  it('reads every table with lists, subjects and attributes', async () => {
    const { dataset, report } = await run({
      files: {
        'events.csv': ['user,item,time', 'u1,i1,100', 'u1,i2,50', 'u2,i3,70'],
        'items.csv': [
          'sku;name;cats;conf;brand;price;to',
          'i2;Two;toys|games;0.25|0.75;acme;9.5;DE|AT',
          'i1;One;games;1.5;;;',
          'i3;"Th;ree";;;;;',
        ],
        'users.ndjson': [
          '{"id":"u1","age":31,"gender":"F","country":"DE"}',
          '{"id":"u9","age":null}',
        ],
        'requests.ndjson': [
          '{"id":"r2","user":"u2","at":"2020-01-01T00:00:10+01:00","pos":["i1","i2","i1"],' +
            '"q":"red toy","age":40}',
          '{"id":"r1","user":"u1","at":"2019-12-31T23:00:10Z","pos":["i3"],"subject":"i1",' +
            '"got":["i2"],"slice":"s"}',
          '{"id":"r3","user":"u7","at":"2020-01-02","pos":["i2"],"interests":["a","b"],' +
            '"conf":[0.5,0.9]}',
          '{"id":"r4","user":"","at":"2020-01-03","pos":["i2"]}',
        ],
      },
      manifest: {
        testFrom: '2020-01-02',
        events: EVENTS,
        items: {
          file: 'items.csv',
          csv: { delimiter: ';' },
          columns: {
            item: 'sku',
            title: 'name',
            categories: 'cats',
            confidences: 'conf',
            advertiser: 'brand',
            price: 'price',
            countries: 'to',
          },
        },
        users: {
          file: 'users.ndjson',
          columns: { user: 'id', age: 'age', gender: 'gender', country: 'country' },
        },
        requests: {
          file: 'requests.ndjson',
          columns: {
            id: 'id',
            user: 'user',
            time: 'at',
            positives: 'pos',
            subjectItem: 'subject',
            query: 'q',
            interests: 'interests',
            interestConfidences: 'conf',
            delivered: 'got',
            age: 'age',
            slice: 'slice',
          },
        },
      },
    });
    assert.deepEqual(report.rejected, []);
    assert.equal(dataset.testFrom, Date.UTC(2020, 0, 2) / 1000);
    assert.deepEqual(dataset.items.ids, ['i1', 'i2', 'i3']);
    assert.deepEqual(dataset.items.titles, ['One', 'Two', 'Th;ree']);
    assert.deepEqual(dataset.items.categoryNames, ['games', 'toys']);
    assert.deepEqual([...dataset.items.categoryOffsets], [0, 1, 3, 3]);
    assert.deepEqual([...dataset.items.categoryValues], [0, 0, 1]);
    assert.deepEqual([...dataset.items.categoryConfidences], [1, 0.75, 0.25]);
    assert.deepEqual([...dataset.items.prices], [Number.NaN, 9.5, Number.NaN]);
    assert.deepEqual(dataset.items.countries, [[], ['AT', 'DE'], []]);
    assert.deepEqual(dataset.users.ids, ['u1', 'u2', 'u7', 'u9']);
    assert.deepEqual([...dataset.users.ages], [31, Number.NaN, Number.NaN, Number.NaN]);
    assert.deepEqual([...dataset.events.items], [1, 0, 2]);
    assert.deepEqual([...dataset.events.userOffsets], [0, 2, 3, 3, 3]);
    assert.deepEqual(dataset.events.actionNames, ['event']);
    const newYear = Date.UTC(2019, 11, 31, 23, 0, 10) / 1000;
    const common = { surface: 'related', delivered: [], demographics: {}, slice: '' };
    assert.deepEqual(dataset.requests, [
      {
        ...common,
        id: 'r1',
        user: 0,
        time: newYear,
        subject: { kind: 'item', item: 0 },
        positives: [2],
        delivered: [1],
        slice: 's',
      },
      {
        ...common,
        id: 'r2',
        user: 1,
        time: newYear,
        surface: 'search',
        subject: { kind: 'query', query: 'red toy' },
        positives: [0, 1],
        demographics: { age: 40 },
      },
      {
        ...common,
        id: 'r3',
        user: 2,
        time: dataset.testFrom,
        subject: {
          kind: 'interests',
          interests: [
            { category: 'b', confidence: Math.fround(0.9) },
            { category: 'a', confidence: 0.5 },
          ],
        },
        positives: [1],
      },
      {
        ...common,
        id: 'r4',
        user: -1,
        time: dataset.testFrom + 86_400,
        subject: { kind: 'none' },
        positives: [1],
      },
    ]);
  });

  it('orders equal times by position; without times, positions or file order count', async () => {
    const files = { 'events.csv': ['user,item,time,position', 'u,b,5,2', 'u,c,5,1', 'u,a,4,9'] };
    const order = async (columns: Record<string, unknown>): Promise<string[]> => {
      const { dataset } = await run({
        files,
        manifest: { events: { file: 'events.csv', columns } },
      });
      return [...dataset.events.items].map((item) => dataset.items.ids[item]!);
    };
    const both = {
      user: 'user',
      item: 'item',
      time: { column: 'time', unit: 's' },
      position: 'position',
    };
    assert.deepEqual(await order(both), ['a', 'c', 'b']);
    assert.deepEqual(await order({ user: 'user', item: 'item', position: 'position' }), [
      'c',
      'b',
      'a',
    ]);
    assert.deepEqual(await order({ user: 'user', item: 'item' }), ['b', 'c', 'a']);
  });

  it('counts every kind of bad row, and reports where the first ones are', async () => {
    const { report, dataset } = await run({
      allowLoss: true,
      files: {
        'events.csv': [
          'user,item,time,position,action,value',
          'u,i1,1,1,buy,1',
          ',i1,1,1,buy,1',
          'u,,1,1,buy,1',
          'u,i1,,1,buy,1',
          'u,i1,yesterday,1,buy,1',
          'u,i1,nan,1,buy,1',
          'u,i1,1318896000000,1,buy,1',
          'u,i1,1,first,buy,1',
          'u,i1,1,1,,1',
          'u,i1,1,1,buy,inf',
          'u,i1,1,1,buy',
          'u,i1,1,1,buy,lots',
          'u,i9,1,1,buy,1',
          'u,i1,2,2,buy,',
        ],
        'items.csv': [
          'item,categories,confidences,price',
          'i1,a|b|c,0|0.5|x,cheap',
          'i1,a,1,1',
          ',a,1,1',
          'i2,a|b,1,1',
        ],
        'users.csv': ['user,age', 'u,200', 'u,20', ',20'],
        'requests.csv': [
          'id,user,time,positives,surface,subject,query,interests,conf,delivered',
          'r1,u,1,i1|i9,related,,,a|b,2|-1,i8',
          'r1,u,1,i1,,,,,,',
          ',u,1,i1,,,,,,',
          'r2,u,,i1,,,,,,',
          'r3,u,x,i1,,,,,,',
          'r4,u,1,i1,home,,,,,',
          'r5,u,1,i1,,i1,red,,,',
          'r6,u,1,i1,,i9,,,,',
          'r7,u,1,i1,,,,a,1|1,',
          'r8,u,1,,,,,,,',
          'r9,u,1,i9,,,,,,',
          'r10,u,9e12,i1,,,,,,',
        ],
      },
      manifest: {
        events: {
          file: 'events.csv',
          columns: {
            user: 'user',
            item: 'item',
            time: { column: 'time', unit: 's' },
            position: 'position',
            action: 'action',
            value: 'value',
          },
        },
        items: {
          file: 'items.csv',
          columns: {
            item: 'item',
            categories: 'categories',
            confidences: 'confidences',
            price: 'price',
          },
        },
        users: { file: 'users.csv', columns: { user: 'user', age: 'age' } },
        requests: {
          file: 'requests.csv',
          columns: {
            id: 'id',
            user: 'user',
            time: { column: 'time', unit: 's' },
            positives: 'positives',
            surface: 'surface',
            subjectItem: 'subject',
            query: 'query',
            interests: 'interests',
            interestConfidences: 'conf',
            delivered: 'delivered',
          },
        },
      },
    });
    const found = report.rejected
      .map(
        ({ table, reason, effect, count, samples }) =>
          `${table} ${effect} ${reason}: ${count} at ${samples.map((s) => s.line).join(',')}`,
      )
      .sort();
    assert.deepEqual(
      found,
      [
        'events row malformed line: 1 at 12',
        'events row missing user: 1 at 3',
        'events row missing item: 1 at 4',
        'events row missing time: 1 at 5',
        'events row unparsable time: 2 at 6,7',
        'events row time out of range: 1 at 8',
        'events row unparsable position: 1 at 9',
        'events row missing action: 1 at 10',
        'events row non-finite value: 2 at 11,13',
        'events row unknown item: 1 at 14',
        'items row duplicate item id: 1 at 3',
        'items row missing item: 1 at 4',
        'items value non-finite price: 1 at 2',
        'items value bad confidence: 2 at 2,2',
        'items value confidences do not match categories: 1 at 5',
        'users row duplicate user id: 1 at 3',
        'users row missing user: 1 at 4',
        'users value bad age: 1 at 2',
        'requests row duplicate request id: 1 at 3',
        'requests row missing request id: 1 at 4',
        'requests row missing time: 1 at 5',
        'requests row unparsable time: 1 at 6',
        'requests row unknown surface: 1 at 7',
        'requests row ambiguous subject: 1 at 8',
        'requests row unknown subject item: 1 at 9',
        'requests row confidences do not match interests: 1 at 10',
        'requests row empty positives: 2 at 11,12',
        'requests row time out of range: 1 at 13',
        'requests value unknown item in positives: 2 at 2,12',
        'requests value unknown item in delivered: 1 at 2',
        'requests value bad confidence: 1 at 2',
      ].sort(),
    );
    assert.equal(report.sourceRows.events, 14);
    assert.equal(dataset.events.count, 2);
    assert.deepEqual([...dataset.events.values], [1, 1]);
    assert.deepEqual(
      dataset.requests.map(({ id }) => id),
      ['r1'],
    );
    assert.deepEqual(dataset.requests[0]!.subject, {
      kind: 'interests',
      interests: [{ category: 'a', confidence: 1 }],
    });
    const time = report.rejected.find(
      ({ table, reason }) => table === 'events' && reason === 'unparsable time',
    )!;
    assert.equal(time.samples[0]!.value, 'yesterday');
  });

  it('leaves out rows whose ids, names and texts cannot be read, and says what came', async () => {
    const { report, dataset } = await run({
      allowLoss: true,
      files: {
        'events.ndjson': [
          '{"user":17850.0,"item":"i1","time":1,"action":"buy"}',
          '{"user":" 17850 ","item":"i1","time":2,"action":"buy"}',
          '{"user":{"id":"u1"},"item":"i1","time":3,"action":"buy"}',
          '{"user":"u","item":["i1"],"time":3,"action":"buy"}',
          '{"user":"u","item":"i1","time":3,"action":true}',
          '{"user":1.5,"item":"i1","time":3,"action":"buy"}',
          '{"user":NaN,"item":"i1","time":3,"action":"buy"}',
        ],
        'items.ndjson': [
          '{"item":"i1","title":" A 2.0\\nof it ","categories":["a ", 2.0, null]}',
          '{"item":"i2","title":"","categories":[{"category":"a","confidence":0.9}]}',
          '{"item":"i3","title":{"en":"A"},"categories":[]}',
          '{"item":"i4","title":"","categories":{"a":0.9}}',
        ],
        'users.csv': ['user,gender', '17850.0,f', 'u,"f\u0007"'],
      },
      manifest: {
        events: {
          file: 'events.ndjson',
          columns: { ...EVENTS.columns, action: 'action' },
        },
        items: {
          file: 'items.ndjson',
          columns: { item: 'item', title: 'title', categories: 'categories' },
        },
        users: { file: 'users.csv', columns: { user: 'user', gender: 'gender' } },
      },
    });
    const found = report.rejected.map(({ table, reason, effect, samples: [first] }) =>
      [table, effect, reason, first!.line, first!.value].join(' '),
    );
    assert.deepEqual(found.sort(), [
      'events row missing user 7 ',
      'events row unusable action 5 a boolean: true',
      'events row unusable item 4 a list: ["i1"]',
      'events row unusable user 3 an object: {"id":"u1"}',
      'items row unusable categories 2 an object: [{"category":"a","confidence":0.9}]',
      'items row unusable title 3 an object: {"en":"A"}',
      'users row unusable gender 3 a control character: f\u0007',
    ]);
    assert.equal(report.rejected.find(({ reason }) => reason === 'unusable user')!.count, 2);
    assert.deepEqual(dataset.users.ids, ['17850']);
    assert.deepEqual(dataset.items.ids, ['i1']);
    assert.deepEqual(dataset.items.titles, ['A 2.0\nof it']);
    assert.deepEqual(dataset.items.categoryNames, ['2', 'a']);
  });

  it('refuses a column whose type holds no ids', async () => {
    const directory = folder();
    const database = await Database.open();
    await database.run(`COPY (SELECT {'id': 'u'} AS "user", 'i' AS item, 1 AS time)
      TO ${literal(join(directory, 'events.parquet'))} (FORMAT parquet)`);
    database.close();
    await assert.rejects(
      run({ files: {}, manifest: { events: { ...EVENTS, file: 'events.parquet' } } }, directory),
      withCode('ERR_DATASET_INVALID', /column "user" for events\.columns\.user, received STRUCT/),
    );
  });

  it('numbers rows within each file, and counts NDJSON lines that are not objects', async () => {
    const { report } = await run({
      allowLoss: true,
      files: {
        'a.ndjson': ['{"user":"u","item":"i","time":1}'],
        'b.ndjson': ['{"user":"u","item":"i","time":2}', '[1]', '{oops', '{"user":"u","time":3}'],
      },
      manifest: { events: { ...EVENTS, file: '?.ndjson' } },
    });
    const places = report.rejected.map(({ reason, samples }) => [
      reason,
      ...samples.map((s) => `${s.file.slice(-8)}:${s.line}`),
    ]);
    assert.deepEqual(places, [
      ['malformed line', 'b.ndjson:2', 'b.ndjson:3'],
      ['missing item', 'b.ndjson:4'],
    ]);
  });

  it('names the nearest column and the nearest field', async () => {
    const files = { 'events.csv': ['buyer,user_id,item,time', 'b,u,i,1'] };
    await assert.rejects(
      run({ files, manifest: { events: EVENTS } }),
      withCode(
        'ERR_DATASET_INVALID',
        /events\.columns\.user/,
        /Did you mean "user_id"/,
        /Columns: buyer, user_id, item, time/,
      ),
    );
    const parse = (events: unknown): (() => unknown) => {
      return () => parseManifest({ name: 'n', events }, 'm.json');
    };
    assert.throws(
      parse({ ...EVENTS, colums: {} }),
      withCode('ERR_DATASET_INVALID', /"colums"/, /Did you mean "columns"/),
    );
    assert.throws(
      parse({ file: 'a.csv', columns: { user: 'u', item: 'i', timee: 't' } }),
      withCode('ERR_DATASET_INVALID', /"timee"/, /Did you mean "time"/),
    );
    assert.throws(
      parse({ file: 'a.csv', columns: { user: 'u', item: 'i', time: { column: 't', unti: 's' } } }),
      withCode('ERR_DATASET_INVALID', /"unti"/, /Did you mean "unit"/),
    );
    assert.throws(
      parse({ columns: EVENTS.columns }),
      withCode('ERR_DATASET_INVALID', /either "file" or "files"/),
    );
  });

  it('leaves out times that no event can have, by the rule of POST /v1/events', async () => {
    const now = Math.floor(Date.now() / 1000);
    const times = async (unit: string, values: readonly (number | string)[]): Promise<unknown> => {
      const { report, dataset } = await run({
        files: {
          'events.csv': ['user,item,time', ...values.map((time, i) => `u,i${i},${time}`)],
        },
        manifest: {
          events: { ...EVENTS, columns: { ...EVENTS.columns, time: { column: 'time', unit } } },
        },
        allowLoss: true,
      });
      return [
        dataset.events.count,
        ...report.rejected
          .filter(({ table }) => table === 'events')
          .map(({ reason, count, samples: [first] }) => `${reason} ${count} ${first!.value}`),
      ];
    };
    assert.deepEqual(await times('s', [0, now - 60, now + 200, now + 400, 4_102_444_800, -1]), [
      3,
      'time in the future 2 ' + String(now + 400),
      'time out of range 1 -1',
    ]);
    // Seconds that are declared as milliseconds, and the other way round.
    assert.deepEqual(await times('ms', [now * 1000, now]), [1, `time out of range 1 ${now}`]);
    assert.deepEqual(await times('s', [now, now * 1000]), [1, `time out of range 1 ${now * 1000}`]);
    assert.deepEqual(await times('iso', ['2024-05-01', '2100-01-01', '1969-12-31', '2024-02-30']), [
      1,
      'time in the future 1 2100-01-01',
      'time out of range 1 1969-12-31',
      'unparsable time 1 2024-02-30',
    ]);
  });

  it('explains missing files, empty sources and number times without a unit', async () => {
    await assert.rejects(
      run({ files: {}, manifest: { events: EVENTS } }),
      withCode('ERR_DATASET_NOT_FOUND', /events\.csv/),
    );
    await assert.rejects(
      run({
        files: { 'events.csv': ['user,item,time', 'u,i,never'] },
        manifest: { events: EVENTS },
      }),
      withCode('ERR_DATASET_INVALID', /at least one valid event/, /unparsable time 1 .*"never"/),
    );
    const directory = folder();
    write(directory, 'events.ndjson', ['{"user":"u","item":"i","time":1}']);
    await toParquet(directory, 'events', ['user', 'item', 'time']);
    await assert.rejects(
      run(
        {
          files: {},
          manifest: {
            events: { file: 'events.parquet', columns: { ...EVENTS.columns, time: 'time' } },
          },
        },
        directory,
      ),
      withCode('ERR_DATASET_INVALID', /Expected a unit/),
    );
    await assert.rejects(readDataset(folder()), withCode('ERR_DATASET_NOT_FOUND', /tandem import/));
  });

  it('gives one source one digest, and replaces another dataset only with force', async () => {
    const files = {
      'events.csv': [
        'user,item,time',
        ...Array.from({ length: 500 }, (_, i) => `u${i % 7},i${i % 11},${i}`),
      ],
    };
    const first = await run({ files, manifest: { events: EVENTS } });
    const again = await run({ files, manifest: { events: EVENTS } });
    assert.equal(first.report.digest, again.report.digest);
    assert.equal(
      (await run({ files, manifest: { events: EVENTS } }, first.directory)).report.outcome,
      'unchanged',
    );
    const other = { 'events.csv': ['user,item,time', 'u,i,1'] };
    await assert.rejects(
      run({ files: other, manifest: { events: EVENTS } }, first.directory),
      withCode('ERR_DATASET_INVALID', /--force/),
    );
    assert.equal((await readDataset(join(first.directory, 'out'))).events.count, 500);
    const forced = await run({ files: other, manifest: { events: EVENTS } }, first.directory, true);
    assert.equal(forced.report.outcome, 'replaced');
    assert.equal(forced.dataset.events.count, 1);
    assert.deepEqual(readdirSync(first.directory).sort(), ['events.csv', 'out']);
  });

  it('leaves no files behind when it is stopped at any stage', async () => {
    for (const stop of ['open', 'events', 'users', 'requests', 'write', 'publish']) {
      const directory = folder();
      write(directory, 'events.csv', ['user,item,time', 'u,i,1']);
      await assert.rejects(
        reportProgressTo(
          ({ note }) => {
            if (note === stop) throw new Error('stopped');
          },
          () =>
            importDataset({
              manifest: parseManifest({ name: 'n', events: EVENTS }, 'the test'),
              baseDirectory: directory,
              outputDirectory: join(directory, 'out'),
            }),
        ),
        /stopped/,
      );
      assert.deepEqual(readdirSync(directory), ['events.csv'], stop);
    }
  });

  it('leaves folders that are not datasets alone, and refuses a changed dataset', async () => {
    const { directory } = await run({
      files: { 'events.csv': ['user,item,time', 'u,i,1'] },
      manifest: { events: EVENTS },
    });
    writeFileSync(join(directory, 'out', 'events.parquet'), 'PAR1');
    await assert.rejects(
      readDataset(join(directory, 'out')),
      withCode('ERR_DATASET_INVALID', /events\.parquet/),
    );
    // Importing the same data again repairs it: only an intact dataset counts as unchanged.
    const mended = await run({ files: {}, manifest: { events: EVENTS } }, directory);
    assert.equal(mended.report.outcome, 'replaced');
    const json = join(directory, 'out', 'dataset.json');
    writeFileSync(json, readFileSync(json, 'utf8').replace('"name": "case"', '"name": "other"'));
    await assert.rejects(
      readDataset(join(directory, 'out')),
      withCode('ERR_DATASET_INVALID', /own digest/),
    );
    rmSync(json);
    await assert.rejects(
      run({ files: {}, manifest: { events: EVENTS } }, directory, true),
      withCode('ERR_DATASET_INVALID', /other files/),
    );
    assert.ok(existsSync(join(directory, 'out', 'events.parquet')));
  });
});

function quoted(cell: string): string {
  return `"${cell.replaceAll('"', '""')}"`;
}

/** The order of UTF-8 bytes, in which DuckDB sorts text. */
function compare(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}

async function toParquet(
  directory: string,
  table: string,
  names: readonly string[],
): Promise<void> {
  const database = await Database.open();
  const source = literal(join(directory, `${table}.ndjson`));
  const types: readonly string[] = ['VARCHAR', 'VARCHAR', 'BIGINT', 'VARCHAR', 'DOUBLE'];
  try {
    const columns = names.map((name, i) => {
      const value = `json_extract_string(json, ${literal(`$."${name}"`)})`;
      return `${value}::${types[i]!} AS ${identifier(name)}`;
    });
    await database.run(
      `COPY (SELECT ${columns.join(', ')} FROM read_ndjson_objects(${source}))
       TO ${literal(join(directory, `${table}.parquet`))} (FORMAT parquet)`,
    );
  } finally {
    database.close();
  }
}
