import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { TandemError } from '../errors.ts';
import { Database, literal } from './duckdb.ts';
import { importDataset, type ImportReport } from './import.ts';
import { parseManifest } from './manifest.ts';
import { readDataset } from './read-dataset.ts';
import { scanNdjson } from './scan/scan-text.ts';
import { scanParquet } from './scan/scan-parquet.ts';

const root = mkdtempSync(join(tmpdir(), 'tandem-sources-'));
let database: Database;
before(async () => {
  database = await Database.open();
});
after(() => {
  database.close();
  rmSync(root, { recursive: true, force: true });
});

type Files = Readonly<Record<string, string | Uint8Array>>;
const COLUMNS = { user: 'user', item: 'item', time: { column: 'time', unit: 's' } };

function folder(files: Files): string {
  const directory = mkdtempSync(join(root, 'case-'));
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(dirname(join(directory, name)), { recursive: true });
    writeFileSync(join(directory, name), content);
  }
  return directory;
}

/** Imports `file` of the folder as events; returns the report, and the users' ids. */
async function run(
  directory: string,
  file: string,
  options: { readonly allowLoss?: boolean; readonly out?: string; readonly rest?: object } = {},
): Promise<{ report: ImportReport; users: readonly string[] }> {
  const outputDirectory = join(directory, options.out ?? 'out');
  const manifest = { name: 'case', events: { file, columns: COLUMNS }, ...options.rest };
  const report = await importDataset({
    manifest: parseManifest(manifest, 'the test'),
    baseDirectory: directory,
    outputDirectory,
    ...(options.allowLoss !== undefined && { allowLoss: options.allowLoss }),
  });
  return { report, users: (await readDataset(outputDirectory)).users.ids };
}

function invalid(...parts: readonly RegExp[]): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof TandemError, String(error));
    assert.match(error.code, /^ERR_DATASET_(INVALID|NOT_FOUND)$/);
    for (const part of parts) assert.match(error.message, part);
    return true;
  };
}

describe('loss', () => {
  const lines = Array.from({ length: 300 }, (_, i) => `u${i},i,1`);
  const csv = (bad: number): string =>
    ['user,item,time', ...lines.map((line, i) => (i < bad ? `,i,never` : line)), ''].join('\n');

  it('fails above 1 % of the rows of a table, unless loss is allowed', async () => {
    const { report } = await run(folder({ 'e.csv': csv(3) }), 'e.csv');
    assert.deepEqual([report.sourceRows.events, report.takenRows.events], [300, 297]);
    const directory = folder({ 'e.csv': csv(4) });
    await assert.rejects(
      run(directory, 'e.csv'),
      invalid(/4 of 300 rows of events \(1\.3 %\)/, /missing user 4 .*e\.csv:2/, /--allow-loss/),
    );
    const allowed = await run(directory, 'e.csv', { allowLoss: true });
    assert.equal(allowed.report.takenRows.events, 296);
  });

  it('counts each table alone, and every reason', async () => {
    const directory = folder({
      'e.csv': csv(0),
      'u.csv': 'user,age\nu1,3\n,4\nu1,5\nu2,6,7\n',
    });
    const rest = { users: { file: 'u.csv', columns: { user: 'user', age: 'age' } } };
    await assert.rejects(
      run(directory, 'e.csv', { rest }),
      invalid(
        /3 of 4 rows of users/,
        /malformed line 1 \(first at u\.csv:5: "3 cells instead of 2: u2,6,7"\)/,
        /missing user 1/,
        /duplicate user id 1/,
      ),
    );
  });
});

describe('sources', () => {
  it('reads files by name, whatever characters the name and the folders have', async () => {
    const line = 'user,item,time\nu1,i,1\n';
    const other = 'user,item,time\nwrong,i,1\n';
    for (const name of ['e[1].csv', 'e*.csv', "it's ?.csv", 'user=5/{e}.csv', '#%20"e".csv']) {
      const directory = folder({ [name]: line, 'e1.csv': other, 'exx.csv': other });
      const { users } = await run(directory, name, { out: 'd[1]*/user=3' });
      assert.deepEqual(users, ['u1'], name);
    }
    const directory = folder({ 'a[1]/e1.csv': line, 'a[1]/e2.csv': line, 'a1/e3.csv': other });
    const { users } = await run(join(directory, 'a[1]'), 'e*.csv');
    assert.deepEqual(users, ['u1']);
    await database.run(
      `COPY (SELECT 'u1' AS "user", 'i' AS item, 1 AS time) ` +
        `TO ${literal(join(directory, 'p.parquet'))}`,
    );
    const bytes = readFileSync(join(directory, 'p.parquet'));
    const parquet = folder({ 'user=9/p[1].parquet': bytes });
    assert.deepEqual((await run(parquet, 'user=9/p[1].parquet')).users, ['u1']);
  });

  it('explains folders, addresses and files that are missing', async () => {
    const directory = folder({ 'days/e.csv': 'user,item,time\nu1,i,1\n' });
    await assert.rejects(run(directory, 'days'), invalid(/found a folder/, /days\/\*/));
    await assert.rejects(run(directory, 's3://bucket/e.csv'), invalid(/found none/, /local/));
    await assert.rejects(run(directory, 'x*.csv'), invalid(/found none/));
  });

  it('finds columns by their exact names', async () => {
    const users = async (text: string): Promise<readonly string[]> =>
      (await run(folder({ 'e.csv': text }), 'e.csv')).users;
    assert.deepEqual(await users('User,item,time,user\nwrong,i,1,u1\n'), ['u1']);
    assert.deepEqual(await users(',user,item,time\n0,u1,i,1\n'), ['u1']);
    assert.deepEqual(await users('"user","it""em",item,time,\nu1,x,i,1,\n'), ['u1']);
    // DuckDB writes no names that differ in case alone, other programs do.
    const path = join(folder({}), 'e.parquet');
    await database.run(`COPY (SELECT 'wrong' AS "User", 'i' AS item, 1 AS time, 'u1' AS "xser")
      TO ${literal(path)} (FORMAT parquet)`);
    const bytes = readFileSync(path).toString('latin1').replaceAll('xser', 'user');
    writeFileSync(path, bytes, 'latin1');
    await assert.rejects(run(dirname(path), 'e.parquet'), invalid(/User and user/));
  });

  it('finds members of JSON objects by their exact names', async () => {
    for (const name of ['*', '$.user', 'a"b', 'a/b', '~1', '\\', "it's", '0', 'User', ' user ']) {
      const row = { user: 'wrong', x: 'wrong', [name]: 'u1', item: 'i', time: 1 };
      const directory = folder({ 'e.ndjson': `${JSON.stringify(row)}\n` });
      const columns = { ...COLUMNS, user: name };
      const { users } = await run(directory, 'e.ndjson', {
        rest: { events: { file: 'e.ndjson', columns } },
      });
      assert.deepEqual(users, ['u1'], name);
    }
  });

  it('refuses NDJSON that is not one object per line, and empty tables', async () => {
    const directory = folder({
      'array.json': '[{"user":"u1","item":"i","time":1}]',
      'pretty.json': '{\n  "user": "u1"\n}\n',
      'numbers.ndjson': '1\n2\n',
      'empty.ndjson': '',
      'empty.csv.gz': gzipSync(''),
      'header.csv': 'user,item,time\n',
    });
    await assert.rejects(run(directory, 'array.json'), invalid(/one JSON object per line.*array/));
    await assert.rejects(run(directory, 'pretty.json'), invalid(/on several lines/));
    await assert.rejects(run(directory, 'numbers.ndjson'), invalid(/no line that is a JSON obj/));
    for (const name of ['empty.ndjson', 'empty.csv.gz', 'header.csv'])
      await assert.rejects(run(directory, name), invalid(/empty/));
  });

  it('never takes a cut NDJSON or Parquet file for a smaller one', async () => {
    const objects = Array.from({ length: 12 }, (_, i) => JSON.stringify({ user: `é${i}`, n: [i] }));
    const text = Buffer.from(objects.join('\n'));
    const directory = folder({ 'x.ndjson': text });
    const path = join(directory, 'x.parquet');
    await database.run(`COPY (SELECT range AS n FROM range(100)) TO ${literal(path)}
      (FORMAT parquet)`);
    const parquet = readFileSync(path);
    await fc.assert(
      fc.asyncProperty(fc.double({ min: 0, max: 0.999, noNaN: true }), async (share) => {
        const cut = join(directory, 'cut');
        const part = text.subarray(0, Math.floor(share * text.length));
        writeFileSync(cut, part);
        // A cut between two lines leaves complete lines, and nothing tells that more were there.
        const complete = objects.filter((_, i) => part.equals(text.subarray(0, endOf(i))))[0];
        const isWhole = complete !== undefined || part.at(-1) === 0x0a;
        const scan = scanNdjson(database, 'events', [cut], ['user']);
        if (isWhole) assert.deepEqual((await scan).rejected, []);
        else await assert.rejects(scan, invalid(/cut/));
        writeFileSync(cut, parquet.subarray(0, Math.floor(share * parquet.length)));
        await assert.rejects(scanParquet(database, 'events', [cut], ['n']), invalid(/cut/));
      }),
      { numRuns: 40 },
    );
    function endOf(line: number): number {
      return Buffer.byteLength(objects.slice(0, line + 1).join('\n'));
    }
  });
});
