import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { gzipSync } from 'node:zlib';
import type { Dataset } from '../dataset.ts';
import { Database, literal } from '../duckdb.ts';
import { importDataset, type ImportReport } from '../import.ts';
import { readDataset } from '../read-dataset.ts';
import { dayStart, eventsBefore } from '../splits.ts';

const root = mkdtempSync(join(tmpdir(), 'tandem-adapters-'));
after(() => {
  rmSync(root, { recursive: true, force: true });
});

function folder(files: Readonly<Record<string, string | Uint8Array>>): string {
  const directory = mkdtempSync(join(root, 'case-'));
  const source = join(directory, 'source');
  mkdirSync(source);
  for (const [name, content] of Object.entries(files)) writeFileSync(join(source, name), content);
  return source;
}

async function run(
  name: string,
  source: string,
): Promise<{ report: ImportReport; dataset: Dataset }> {
  const outputDirectory = join(mkdtempSync(join(root, 'out-')), 'dataset');
  const report = await importDataset({ adapter: { name, source }, outputDirectory });
  return { report, dataset: await readDataset(outputDirectory) };
}

function categories(dataset: Dataset, id: string): [string, number][] {
  const { ids, categoryNames, categoryOffsets, categoryValues, categoryConfidences } =
    dataset.items;
  const row = ids.indexOf(id);
  return Array.from(categoryValues.subarray(categoryOffsets[row], categoryOffsets[row + 1])).map(
    (value, i) => [
      categoryNames[value]!,
      Number(categoryConfidences[categoryOffsets[row]! + i]!.toFixed(3)),
    ],
  );
}

function histories(dataset: Dataset): Record<string, string[]> {
  const { items, userOffsets } = dataset.events;
  return Object.fromEntries(
    dataset.users.ids.map((id, user) => [
      id,
      Array.from(items.subarray(userOffsets[user], userOffsets[user + 1])).map(
        (item) => dataset.items.ids[item]!,
      ),
    ]),
  );
}

/** Folder of the published data; without it, the tests that need it are skipped with a message. */
const published = process.env['TANDEM_DATA_DIR'] ?? '';
function skipWithout(name: string): string | false {
  if (published === '') return 'TANDEM_DATA_DIR is not set';
  return existsSync(join(published, name)) ? false : `no ${name} in TANDEM_DATA_DIR`;
}

describe('online-retail', () => {
  const header =
    'InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country';
  const lines = [
    '1,A,RED BOX 3 BOXES,2,2011-11-01 08:00:00,1.5,17850.0,France',
    '1,B,RED CANDLES,1,2011-11-01 08:00:00,2,17850.0,France',
    '1,A,RED BOX 3 BOXES,1,2011-11-01 08:00:00,2.5,17850.0,France',
    'C2,A,RED BOX 3 BOXES,1,2011-11-02 08:00:00,1,17850.0,France',
    '3,A,RED BOX 3 BOXES,-1,2011-11-02 08:00:00,1,17850.0,France',
    '4,B,RED CANDLES,1,2011-11-02 08:00:00,0,17850.0,France',
    '5,B,RED CANDLES,1,2011-11-02 08:00:00,1,,France',
    '6,C,SET OF THE CANDLE,4,2011-11-12 09:00:00,1,12346,Spain',
    '6,B,"BLUE, CANDLE",1,2011-11-12 09:00:00,1,12346,Spain',
    '7,A,RED BOX 3 BOXES,1,2011-11-13 09:00:00,1,12346,Spain',
  ];

  it('maps lines to events, invoices to requests and descriptions to categories', async () => {
    const source = folder({ 'Online Retail.csv': [header, ...lines].join('\n') });
    const { report, dataset } = await run('online-retail', source);
    assert.deepEqual(histories(dataset), { '12346': ['C', 'B', 'A'], '17850': ['A', 'B', 'A'] });
    assert.deepEqual([...dataset.events.values], [4, 1, 1, 3, 2, 2.5]);
    assert.deepEqual(dataset.users.countries, ['Spain', 'France']);
    assert.deepEqual(
      dataset.requests.map(({ id, user, subject, positives }) => [id, user, subject, positives]),
      [
        ['1', 1, { kind: 'item', item: 0 }, [1]],
        ['6', 0, { kind: 'item', item: 2 }, [1]],
      ],
    );
    assert.equal(dataset.testFrom, Date.UTC(2011, 10, 10) / 1000);
    // Item B has two descriptions that occur once each, and the later one counts. So "red" is in
    // one item and "candle" is in two.
    assert.deepEqual(dataset.items.titles, [
      'RED BOX 3 BOXES',
      'BLUE, CANDLE',
      'SET OF THE CANDLE',
    ]);
    assert.deepEqual(categories(dataset, 'A'), []);
    assert.deepEqual(categories(dataset, 'B'), [['candle', 1]]);
    assert.equal(dataset.items.prices[0], 1.5);
    assert.deepEqual(
      report.rejected.map(({ reason, count, effect }) => [reason, count, effect]),
      [
        ['cancelled invoice', 1, 'excluded'],
        ['no customer', 1, 'excluded'],
        ['price not above 0', 1, 'excluded'],
        ['quantity not above 0', 1, 'excluded'],
      ],
    );
  });

  it('explains how to export the published sheet', async () => {
    const source = folder({ 'Online Retail.xlsx': 'PK' });
    await assert.rejects(
      run('online-retail', join(source, 'Online Retail.xlsx')),
      /Export the sheet as CSV/,
    );
    await assert.rejects(run('online-retail', source), /one \.parquet or \.csv file/);
  });

  it(
    'counts the requests that the published baselines were measured on',
    { skip: skipWithout('online-retail') },
    async () => {
      const { dataset, report } = await run('online-retail', join(published, 'online-retail'));
      const left = report.rejected.reduce((sum, { count }) => sum + count, 0);
      assert.equal(dataset.events.count + left, 541_909);
      assert.equal(dataset.events.count, 397_884);
      const candidates = new Set<number>();
      for (let event = 0; event < dataset.events.count; event++)
        if (dataset.events.times[event]! < dataset.testFrom)
          candidates.add(dataset.events.items[event]!);
      const test = dataset.requests.filter(({ time }) => time >= dataset.testFrom);
      const all = test.filter(({ positives }) => positives.some((item) => candidates.has(item)));
      const discovery = all.filter(({ user, time, positives }) => {
        const start = dataset.events.userOffsets[user]!;
        const known = new Set(
          dataset.events.items.subarray(start, start + eventsBefore(dataset, user, dayStart(time))),
        );
        return positives.some((item) => candidates.has(item) && !known.has(item));
      });
      assert.deepEqual([test.length, all.length, discovery.length], [2495, 2485, 2162]);
    },
  );
});

describe('movielens', () => {
  it('reads 100K', async () => {
    const flags = (...on: number[]): string =>
      Array.from({ length: 19 }, (_, i) => (on.includes(i) ? 1 : 0)).join('|');
    const { dataset } = await run(
      'movielens',
      folder({
        'u.data': '1\t2\t5\t300\n1\t1\t3\t200\n',
        'u.item': Buffer.from(
          `1|Caf\xe9 (1990)|01-Jan-1990||url|${flags(4, 14)}\n2|B|||url|${flags(18)}\n`,
          'latin1',
        ),
        'u.user': '1|24|M|technician|85711\n',
      }),
    );
    assert.deepEqual(histories(dataset), { '1': ['1', '2'] });
    assert.deepEqual([...dataset.events.values], [3, 5]);
    assert.deepEqual(dataset.items.titles, ['Café (1990)', 'B']);
    assert.deepEqual(categories(dataset, '1'), [
      ["Children's", 0.5],
      ['Romance', 0.5],
    ]);
    assert.deepEqual([dataset.users.ages[0], dataset.users.genders[0]], [24, 'M']);
    assert.deepEqual(requests(dataset), [['1', 300, '1', ['2']]]);
  });

  it('reads 1M, with published ratings or with an order and some times', async () => {
    const common = {
      'movies.dat': '10::Toy Story (1995)::Animation|Comedy\n20::Heat::Crime\n',
      'users.dat': '1::F::1::10::48067\n2::M::56::16::70072\n',
    };
    const raw = await run(
      'movielens',
      folder({ ...common, 'ratings.dat': '1::20::5::900\n1::10::4::800\n2::10::3::700\n' }),
    );
    assert.deepEqual(histories(raw.dataset), { '1': ['10', '20'], '2': ['10'] });
    assert.deepEqual([...raw.dataset.users.ages], [17, 56]);
    const source = folder(common);
    await parquet(
      join(source, 'ratings_in_time_order.parquet'),
      `SELECT * FROM (VALUES (1, 10, 4, 0, NULL), (1, 20, 5, 1, 800), (1, 10, 5, 2, NULL),
         (1, 20, 5, 3, 900),
        (2, 10, 3, 0, NULL)) AS t (user_id, movie_id, rating, position, timestamp_s)`,
    );
    const { dataset } = await run('movielens', source);
    assert.deepEqual([...dataset.events.times], [800, 800, 800, 900, 900]);
    assert.deepEqual(histories(dataset), { '1': ['10', '20', '10', '20'], '2': ['10'] });
    assert.deepEqual(requests(dataset), [
      ['1', 800, '10', ['20']],
      ['1', 800, '20', ['10']],
      ['1', 900, '10', ['20']],
    ]);
  });

  it('imports the published files', { skip: skipWithout('ml-1m') }, async () => {
    const { dataset, report } = await run('movielens', join(published, 'ml-1m'));
    assert.deepEqual(report.rejected, []);
    assert.deepEqual(
      [dataset.events.count, dataset.users.count, dataset.items.count],
      [1_000_209, 6040, 3883],
    );
  });
});

describe('sasrec', () => {
  it('keeps the order of the lines, without times', async () => {
    const { dataset } = await run(
      'sasrec',
      folder({ 'tiny.txt.gz': gzipSync('1 3\n1 2\n1 3\n2 1\n') }),
    );
    assert.equal(dataset.name, 'sasrec-tiny');
    assert.equal(dataset.hasTime, false);
    assert.deepEqual(histories(dataset), { '1': ['3', '2', '3'], '2': ['1'] });
    assert.deepEqual([...dataset.events.times], [0, 1, 2, 0]);
  });

  it('imports the published file', { skip: skipWithout('sasrec-ml-1m') }, async () => {
    const { dataset } = await run('sasrec', join(published, 'sasrec-ml-1m'));
    assert.deepEqual(
      [dataset.events.count, dataset.users.count, dataset.items.count],
      [999_611, 6040, 3416],
    );
  });
});

describe('s3rec', () => {
  it('orders by day and position, fills missing times, weighs attributes by rarity', async () => {
    const source = folder({});
    await parquet(
      join(source, 'events.parquet'),
      `SELECT * FROM (VALUES ('1', 'b', 1, 86400), ('1', 'a', 0, 86400), ('2', 'a', 0, NULL))
         AS t (user_id, item_id, position, timestamp_s)`,
    );
    await parquet(
      join(source, 'items.parquet'),
      `SELECT * FROM (VALUES ('a', ['7', '8']), ('b', ['8'])) AS t (item_id, categories)`,
    );
    const { dataset } = await run('s3rec', source);
    assert.deepEqual(histories(dataset), { '1': ['a', 'b'], '2': ['a'] });
    assert.deepEqual([...dataset.events.times], [86400, 86400, 86400]);
    assert.deepEqual(categories(dataset, 'a'), [
      ['7', 1],
      ['8', Number((Math.log(2) / Math.log(3)).toFixed(3))],
    ]);
  });

  for (const [name, events, users, items] of [
    ['amazon-beauty', 198_502, 22_363, 12_101],
    ['amazon-sports', 296_337, 35_598, 18_357],
    ['yelp', 316_354, 30_431, 20_033],
  ] as const)
    it(`imports ${name} as published`, { skip: skipWithout(name) }, async () => {
      const { dataset } = await run('s3rec', join(published, name));
      assert.deepEqual(
        [dataset.events.count, dataset.users.count, dataset.items.count],
        [events, users, items],
      );
    });
});

describe('adapters', () => {
  it('names the nearest adapter and the missing files', async () => {
    await assert.rejects(run('movie-lens', root), /Did you mean "movielens"/);
    await assert.rejects(run('movielens', folder({})), /u\.data \(100K\) or movies\.dat \(1M\)/);
    await assert.rejects(run('s3rec', join(root, 'nowhere')), /found nothing there/);
  });
});

/** User, time, item in view and positives of each request. */
function requests({ requests, users, items }: Dataset): unknown[] {
  return requests.map(({ user, time, subject, positives }) => [
    users.ids[user],
    time,
    subject.kind === 'item' ? items.ids[subject.item] : subject.kind,
    positives.map((item) => items.ids[item]),
  ]);
}

async function parquet(path: string, select: string): Promise<void> {
  const database = await Database.open();
  try {
    await database.run(`COPY (${select}) TO ${literal(path)} (FORMAT parquet)`);
  } finally {
    database.close();
  }
}
