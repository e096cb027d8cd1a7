// Times: units, the text of a time, and the times that an event may have. Import and requests take
// both rules from here, so that what one door takes, the other takes as well.

export const DAY_SECONDS = 86_400;

/** How far the clock of a sender may be ahead of ours, in seconds. */
const CLOCK_SKEW_SECONDS = 300;

/** Unix seconds from which on an event may have happened: 1970. */
export const EARLIEST_SECONDS = 0;

/** The year 5138 in seconds: a later time was written in another unit. */
export const LARGEST_SECONDS = 1e11;

/**
 * Unix seconds after which an event would be in the future.
 *
 * @param nowSeconds - Unix seconds of this machine's clock.
 */
export function latestSeconds(nowSeconds: number = Date.now() / 1000): number {
  return nowSeconds + CLOCK_SKEW_SECONDS;
}

/** What parseTime() reads, for messages. */
export const TIME_TEXT =
  'Unix seconds, or ISO 8601 such as 2026-03-01 or 2026-03-01T12:30:00Z (UTC without an offset)';

const NUMBER = /^-?\d+(?:\.\d+)?$/;
const DATE = /(\d{4})-(\d\d)-(\d\d)/;
const CLOCK = /(\d\d):(\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)?/;
const OFFSET = /(?:Z|([+-])(\d\d)(?::?(\d\d))?)/;
const ISO = new RegExp(`^${DATE.source}(?:[T ]${CLOCK.source}${OFFSET.source}?)?$`, 'i');

/**
 * Unix seconds of a time as text: Unix seconds, a date, or a date and a time of day. A time without
 * an offset is UTC, whatever the time zone of the machine.
 *
 * @throws RangeError whose message says what is wrong, as a part of a sentence.
 */
export function parseTime(text: string): number {
  if (NUMBER.test(text)) return checkedSeconds(Number(text));
  const [whole, year, month, day, hour = '0', minute = '0', second = '0', ...rest] =
    ISO.exec(text) ?? [];
  if (whole === undefined) throw new RangeError('it has another form');
  const [fraction = '0', sign, offsetHour = '0', offsetMinute = '0'] = rest;
  const date = new Date(0);
  date.setUTCFullYear(Number(year), Number(month) - 1, Number(day));
  if (date.getUTCMonth() !== Number(month) - 1 || date.getUTCDate() !== Number(day))
    throw new RangeError(`there is no day ${year}-${month}-${day}`);
  if (second === '60')
    throw new RangeError('Unix time has no leap seconds; write second 59 or the next minute');
  if (Number(hour) > 23 || Number(minute) > 59 || Number(second) > 59)
    throw new RangeError(`there is no time of day ${hour}:${minute}:${second}`);
  if (Number(offsetHour) > 14 || Number(offsetMinute) > 59)
    throw new RangeError(`there is no offset ${sign}${offsetHour}:${offsetMinute}`);
  const offset = (Number(offsetHour) * 60 + Number(offsetMinute)) * (sign === '-' ? -60 : 60);
  const ofDay = (Number(hour) * 60 + Number(minute)) * 60 + Number(second);
  // DuckDB counts microseconds, too.
  return date.getTime() / 1000 + ofDay - offset + Number(`0.${fraction.slice(0, 6)}`);
}

/**
 * SQL of the Unix seconds of an ISO 8601 time; NULL for text of another form. It reads what
 * parseTime() reads, and the other forms of DuckDB, such as names of time zones.
 *
 * DuckDB alone requires seconds, capital letters and a decimal point.
 *
 * @param text - SQL of the text. The session's time zone must be UTC.
 */
export function isoSecondsSql(text: string): string {
  const complete = `regexp_replace(replace(upper(${text}), ',', '.'),
    '^(\\d{4}-\\d\\d-\\d\\d[T ]\\d\\d:\\d\\d)(Z|[+-]\\d\\d(:?\\d\\d)?)?$', '\\1:00\\2')`;
  return `epoch(coalesce(try_cast(${text} AS TIMESTAMPTZ), try_cast(${complete} AS TIMESTAMPTZ)))`;
}

/** @throws RangeError for a number that is no Unix time in seconds. */
export function checkedSeconds(seconds: number): number {
  if (Math.abs(seconds) <= LARGEST_SECONDS) return seconds;
  throw new RangeError('it is too large for Unix seconds; divide milliseconds by 1000');
}
