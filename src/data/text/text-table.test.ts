import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import * as zlib from 'node:zlib';
import fc from 'fast-check';
import { TandemError } from '../../errors.ts';
import { Database, fileLiteral } from '../duckdb.ts';
import { readTextTable, type TextFormat, type TextTable } from './text-table.ts';

const folder = mkdtempSync(join(tmpdir(), 'tandem-text-'));
let database: Database;
before(async () => {
  database = await Database.open();
});
after(() => {
  database.close();
  rmSync(folder, { recursive: true, force: true });
});

const CSV: TextFormat = { delimiter: ',', quote: '"', encoding: 'utf-8', header: true };
const NDJSON: TextFormat = { ...CSV, delimiter: '', quote: '', header: false, columns: ['json'] };

/** Reads a file; the rows are [line, cell, cell, ...], with '' for an empty cell. */
async function read(
  content: string | Uint8Array,
  format: TextFormat,
  wanted: readonly string[],
): Promise<{ table: TextTable; rows: (string | number)[][] }> {
  const path = join(folder, 'source.csv');
  const target = join(folder, 'rows');
  writeFileSync(path, content);
  const references = Object.fromEntries(wanted.map((column, i) => [`f${i}`, { column }]));
  const table = await readTextTable('events', [path], format, references, target);
  if (table.writer.rows === 0) return { table, rows: [] };
  const sql = table.writer.select(fileLiteral(target), wanted.length);
  const rows = await database.rows(`SELECT * FROM (${sql}) ORDER BY source_row`);
  return {
    table,
    rows: rows.map((row) => [
      Number(row['source_row']),
      ...wanted.map((_name, i) => String(row[`c${i}`] ?? '')),
    ]),
  };
}

function refused(...parts: readonly RegExp[]): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof TandemError, String(error));
    assert.equal(error.code, 'ERR_DATASET_INVALID');
    assert.match(error.message, /source\.csv/);
    for (const part of parts) assert.match(error.message, part);
    return true;
  };
}

describe('readTextTable', () => {
  it('reads a table back exactly, whatever the dialect it was written in', async () => {
    const cell = fc.string({
      unit: fc.constantFrom(...Array.from('abé ,;|\t"\r\n:\0\x1e\x1f\\n\'𝄞')),
      maxLength: 6,
    });
    const width = 3;
    const lineEnd = fc.constantFrom('\n', '\r\n', '\r');
    const dialect = fc.record({
      delimiter: fc.constantFrom(',', ';', '\t', '|', '::', '¦'),
      blankAt: fc.constantFrom(-1, 0, width),
      encoding: fc.constantFrom('utf8', 'bom', 'utf16le', 'utf16be'),
      gzip: fc.constantFrom(0, 1, 2),
      endsWithLineEnd: fc.boolean(),
    });
    const row = fc.record({
      cells: fc.array(cell, { minLength: width, maxLength: width }),
      quoteAll: fc.boolean(),
      end: lineEnd,
      blank: fc.constantFrom('', '\n'),
    });
    const names = fc.uniqueArray(
      cell.filter((name) => name.trim() !== ''),
      { minLength: width, maxLength: width, selector: (name) => name.trim() },
    );
    await fc.assert(
      fc.asyncProperty(
        names,
        fc.array(row, { minLength: 1, maxLength: 8 }),
        dialect,
        lineEnd,
        async (names, rows, { delimiter, blankAt, encoding, gzip, endsWithLineEnd }, headerEnd) => {
          const written = (cells: readonly string[], all: boolean): string => {
            const line = cells.map((text) => inCell(text, delimiter, all));
            // An index without a name in front, or a delimiter at the end of each line.
            if (blankAt >= 0) line.splice(blankAt, 0, '');
            return line.join(delimiter);
          };
          let text = written(names, false) + headerEnd;
          rows.forEach(({ cells, quoteAll, end, blank }, i) => {
            const isLast = i === rows.length - 1 && !endsWithLineEnd;
            text += written(cells, quoteAll) + (isLast ? '' : end + blank);
          });
          const { table, rows: found } = await read(
            compressed(encoded(text, encoding), gzip),
            { ...CSV, delimiter },
            names,
          );
          assert.deepEqual(table.rejected, []);
          assert.deepEqual(
            found.map(([, ...cells]) => cells),
            rows.map(({ cells }) => cells),
          );
        },
      ),
      { numRuns: 150 },
    );
  });

  it('gives the number of the line at which a row starts', async () => {
    const text = '\n"a\n1",b\r\n1,2\r\r\n3,"x\r\ny\rz"\n\n4,5';
    const { rows } = await read(text, CSV, ['b']);
    assert.deepEqual(rows, [
      [4, '2'],
      [6, 'x\r\ny\rz'],
      [10, '5'],
    ]);
  });

  it('loses only the lines with stray quotes or other cells, and counts them', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.constantFrom('good', 'good', 'good', 'open', 'after', 'few', 'many'), {
          minLength: 1,
          maxLength: 60,
        }),
        async (kinds) => {
          const lines = kinds.map((kind, i) => {
            if (kind === 'open') return `"u${i},i${i},5`;
            if (kind === 'after') return `"u${i}"x,i${i},5`;
            if (kind === 'few') return `u${i},i${i}`;
            return kind === 'many' ? `u${i},i${i},5,6` : `u${i},i${i},5" or 6"`;
          });
          const text = ['user,item,size', ...lines, 'last,i,1'].map((line) => `${line}\n`).join('');
          const { table, rows } = await read(text, CSV, ['user']);
          const good = kinds.flatMap((kind, i) => (kind === 'good' ? [[i + 2, `u${i}`]] : []));
          assert.deepEqual(rows, [...good, [kinds.length + 2, 'last']]);
          const lost = table.rejected.reduce((sum, { count }) => sum + count, 0);
          assert.equal(lost, kinds.length - good.length);
        },
      ),
      { numRuns: 60 },
    );
  });

  it('refuses a compressed file that was cut anywhere, and one that is damaged', async () => {
    const lines = Array.from({ length: 300 }, (_, i) => `u${(i * 7919) % 1009},${i}\n`);
    const text = `a,b\n${lines.join('')}`;
    const whole = Buffer.concat([zlib.gzipSync(text), zlib.gzipSync('more,1\n')]);
    const member = zlib.gzipSync(text).length;
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: whole.length - 1 }), async (length) => {
        // A member is a complete gzip file.
        if (length === member) return;
        await assert.rejects(read(whole.subarray(0, length), CSV, ['a']), refused());
      }),
      { numRuns: 60 },
    );
    assert.equal((await read(whole, CSV, ['a'])).rows.length, 301);
    const damaged = Buffer.from(whole);
    damaged[member - 6]! ^= 1;
    await assert.rejects(read(damaged, CSV, ['a']), refused(/damaged/));
  });

  it('reads zstd where Node.js can, and refuses a cut one', async () => {
    const { zstdCompressSync } = zlib as { zstdCompressSync?: (text: string) => Buffer };
    if (zstdCompressSync === undefined) {
      const frame = Buffer.from('28b52ffd2004210000', 'hex');
      await assert.rejects(read(frame, CSV, ['a']), refused(/Node\.js 22\.15/, /zstd -d/));
      return;
    }
    const lines = Array.from({ length: 300 }, (_, i) => `u${(i * 7919) % 1009},${i}\n`);
    const text = `a,b\n${lines.join('')}`;
    const whole = zstdCompressSync(text);
    assert.equal((await read(whole, CSV, ['a'])).rows.length, 300);
    for (let length = 1; length < whole.length; length += 37)
      await assert.rejects(read(whole.subarray(0, length), CSV, ['a']), refused());
  });

  it('refuses text that was cut in a quoted cell, a row, a character or UTF-16', async () => {
    for (const text of ['a,b\n1,2\n3,"x', 'a,b\n1,2\n3,"x\ny', 'a,b\n1,2\n3,"x\n', 'a,b\n1,2\n3'])
      await assert.rejects(read(text, CSV, ['a']), refused(/cut short/));
    const half = Buffer.from('a,b\n1,2\n3,é').subarray(0, -1);
    await assert.rejects(read(half, CSV, ['a']), refused(/cut short/, /character/));
    const utf16 = encoded('a,b\n1,2\n', 'utf16le').subarray(0, -1);
    await assert.rejects(read(utf16, CSV, ['a']), refused(/UTF-16/));
    assert.deepEqual((await read('a,b\n1,2\n3,4', CSV, ['b'])).rows, [
      [2, '2'],
      [3, '4'],
    ]);
  });

  it('refuses empty files and headers that cannot be used', async () => {
    for (const text of ['', '\n \r\n']) {
      await assert.rejects(read(text, CSV, ['a']), refused(/empty/));
      await assert.rejects(read(text, NDJSON, ['json']), refused(/empty/));
    }
    await assert.rejects(read('"a,b\n1,2\n', CSV, ['a']), refused(/column names/, /open quote/));
    await assert.rejects(read('a,b,a\n1,2,3\n', CSV, ['a']), refused(/positions 1 and 3/));
    assert.deepEqual((await read('a,b,a\n1,2,3\n', CSV, ['b'])).rows, [[2, '2']]);
    await assert.rejects(read('A,b\n1,2\n', CSV, ['a']), refused(/Did you mean "A"/));
    assert.deepEqual((await read('A,a, b \n1,2,3\n', CSV, ['a', 'b'])).rows, [[2, '2', '3']]);
    await assert.rejects(
      read(Buffer.from('caf\xe9,b\n1,2\n', 'latin1'), CSV, ['b']),
      refused(/not UTF-8/, /csv\.encoding/),
    );
  });

  it('leaves out lines that are not UTF-8 or too long', async () => {
    const long = 'x'.repeat(2_200_000);
    const content = Buffer.concat([
      Buffer.from(`a,b\n1,${long}\n2,ok\n3,"${long}"\n`),
      Buffer.from('4,caf\xe9\n', 'latin1'),
      Buffer.from(`5,é\n6,"open ${'\n7,ok'.repeat(3)}\n`),
    ]);
    const { table, rows } = await read(content, CSV, ['b']);
    assert.deepEqual(
      rows,
      [3, 6, 8, 9, 10].map((line) => [line, line === 6 ? 'é' : 'ok']),
    );
    assert.deepEqual(
      table.rejected.map(({ reason, count, samples }) => [reason, count, samples[0]!.line]),
      [
        ['row longer than 2 MiB', 2, 2],
        ['not UTF-8', 1, 5],
        ['malformed line', 1, 7],
      ],
    );
    const latin = { ...CSV, encoding: 'latin-1' as const };
    const { rows: read1 } = await read(Buffer.from('a,b\n1,caf\xe9\n', 'latin1'), latin, ['b']);
    assert.deepEqual(read1, [[2, 'café']]);
  });

  it('keeps rows whole where a block of the file ends', async () => {
    const lines = Array.from({ length: 60_000 }, (_, i) => `${i},"é${'y'.repeat(i % 50)}\r\n𝄞"`);
    const { rows } = await read(`a,b\r\n${lines.join('\r\n')}\r\n`, CSV, ['a', 'b']);
    assert.equal(rows.length, lines.length);
    rows.forEach(([line, a, b], i) => {
      assert.equal(line, 2 * i + 2);
      assert.equal(a, String(i));
      assert.equal(b, `é${'y'.repeat(i % 50)}\r\n𝄞`);
    });
  });
});

function inCell(text: string, delimiter: string, quoteAll: boolean): string {
  const plain = !quoteAll && !/["\r\n]/.test(text) && !text.includes(delimiter) && text !== '';
  // Spaces in front of a quote are dropped; a part of a delimiter at the end would complete it.
  const isSafe = !delimiter.includes(text.at(-1) ?? '') && !delimiter.includes(text.at(0) ?? '');
  return plain && isSafe ? text : `"${text.replaceAll('"', '""')}"`;
}

function encoded(text: string, encoding: string): Buffer {
  if (encoding === 'utf8') return Buffer.from(text);
  if (encoding === 'bom') return Buffer.from(`\uFEFF${text}`);
  const bytes = Buffer.from(`\uFEFF${text}`, 'utf16le');
  return encoding === 'utf16be' ? bytes.swap16() : bytes;
}

/** 0: as it is; 1: one gzip member; 2: two members. */
function compressed(bytes: Buffer, members: number): Buffer {
  if (members === 0) return bytes;
  const at = members === 1 ? 0 : bytes.length >> 1;
  const second = zlib.gzipSync(bytes.subarray(at));
  return members === 1 ? second : Buffer.concat([zlib.gzipSync(bytes.subarray(0, at)), second]);
}
