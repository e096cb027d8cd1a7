import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import fc from 'fast-check';
import { Database, literal } from './data/duckdb.ts';
import { isoSecondsSql, latestSeconds, parseTime } from './time.ts';

const two = (value: number): string => String(value).padStart(2, '0');

/** A time in a form that is read, with its Unix seconds. */
const written = fc
  .record({
    seconds: fc.integer({ min: Date.UTC(1, 0, 1) / 1000, max: Date.UTC(9999, 11, 30) / 1000 }),
    offsetMinutes: fc.oneof(fc.constant(0), fc.integer({ min: -14 * 60, max: 14 * 60 })),
    separator: fc.constantFrom('T', ' ', 't'),
    colon: fc.constantFrom(':', ''),
    fraction: fc.constantFrom('', '.5', ',25', '.000001', '.1234567'),
    // Parts that are left out, from the end: offset, seconds, time of day.
    length: fc.constantFrom('offset', 'seconds', 'minutes', 'day'),
  })
  .map(({ seconds: given, offsetMinutes, separator, colon, fraction, length }) => {
    const unit = { offset: 1, seconds: 1, minutes: 60, day: 86_400 }[length];
    const seconds = Math.floor(given / unit) * unit;
    const shift = length === 'offset' ? offsetMinutes : 0;
    const [day, clock] = new Date((seconds + shift * 60) * 1000).toISOString().split(/[T.]/) as [
      string,
      string,
    ];
    if (length === 'day') return { text: day, seconds };
    if (length === 'minutes') return { text: `${day}${separator}${clock.slice(0, 5)}`, seconds };
    const away = Math.abs(shift);
    const sign = shift < 0 ? '-' : '+';
    const offset =
      shift === 0 ? 'z' : `${sign}${two(Math.floor(away / 60))}${colon}${two(away % 60)}`;
    return {
      text: `${day}${separator}${clock}${fraction}${length === 'offset' ? offset : ''}`,
      seconds: seconds + Number(`0${fraction.replace(',', '.').slice(0, 7)}`),
    };
  });

describe('parseTime', () => {
  const zone = process.env['TZ'];
  after(() => {
    if (zone === undefined) delete process.env['TZ'];
    else process.env['TZ'] = zone;
  });

  it('reads every form as UTC, in every time zone of the machine', () => {
    fc.assert(
      fc.property(
        written,
        fc.constantFrom('UTC', 'America/New_York', 'Asia/Kolkata'),
        ({ text, seconds }, machine) => {
          process.env['TZ'] = machine;
          assert.ok(Math.abs(parseTime(text) - seconds) < 1e-4, text);
        },
      ),
    );
  });

  it('reads Unix seconds', () => {
    for (const seconds of [0, 1717200000, 1717200000.25, -5])
      assert.equal(parseTime(String(seconds)), seconds);
  });

  it('says what is wrong', () => {
    for (const [text, reason] of [
      ['2024-02-30', /no day 2024-02-30/],
      ['2023-02-29T00:00:00Z', /no day 2023-02-29/],
      ['2024-00-10', /no day/],
      ['2024-13-01', /no day/],
      ['2016-12-31T23:59:60Z', /leap seconds/],
      ['2024-01-01T24:00:00', /no time of day 24:00:00/],
      ['2024-01-01T10:61', /no time of day/],
      ['2024-01-01T10:00:00+15:00', /no offset \+15:00/],
      ['1717200000000', /divide milliseconds by 1000/],
      ...['', 'today', '2024-1-5', '01/02/2024', '2024-01-01Z', ' 2024-01-01', 'NaN'].map(
        (other) => [other, /another form/] as const,
      ),
    ] as const)
      assert.throws(() => parseTime(text), { name: 'RangeError', message: reason }, text);
  });
});

describe('isoSecondsSql', () => {
  let database: Database;
  before(async () => {
    database = await Database.open();
  });
  after(() => {
    database.close();
  });

  it('reads in DuckDB what parseTime reads', () =>
    fc.assert(
      fc.asyncProperty(fc.array(written, { minLength: 20, maxLength: 20 }), async (times) => {
        const rows = await database.rows(
          `SELECT ${isoSecondsSql('t')} AS seconds
           FROM (SELECT unnest([${times.map(({ text }) => literal(text)).join()}]) AS t)`,
        );
        for (const [i, { text }] of times.entries())
          assert.ok(Math.abs(Number(rows[i]!['seconds']) - parseTime(text)) < 1e-4, text);
      }),
      { numRuns: 20 },
    ));

  it('gives NULL for days and seconds that do not exist', async () => {
    for (const text of [
      '2024-02-30',
      '2016-12-31T23:59:60Z',
      '2024-01-01T10:61',
      'yesterday',
      '',
    ]) {
      const [row] = await database.rows(`SELECT ${isoSecondsSql(literal(text))} AS seconds`);
      assert.equal(row!['seconds'], null, text);
    }
  });
});

it('the latest time of an event is five minutes ahead of the clock', () => {
  assert.equal(latestSeconds(1000), 1300);
});
