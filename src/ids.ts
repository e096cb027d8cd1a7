// What an id is: the types of ids, so that the compiler refuses one kind where another is meant,
// and the one rule by which ids, names and texts are read. Requests read with the functions of this
// file. For imports, data/fields/id-sql.ts makes the same rule in SQL from the same constants.

declare const brand: unique symbol;
/** A `Base` that only code which checks its origin may call a `Name`; cast with `as`. */
export type Branded<Base, Name extends string> = Base & { readonly [brand]: Name };

/** A user as the caller names it. */
export type UserId = Branded<string, 'UserId'>;
/**
 * Digest of encoder weights and feature schema: states with different ids live in different spaces.
 */
export type EncoderId = Branded<string, 'EncoderId'>;
/** Digest over everything in a bundle. */
export type BundleId = Branded<string, 'BundleId'>;

/** The most bytes of an id or a name in UTF-8. */
export const MAX_ID_BYTES = 1024;
/** The most bytes of a title or a search query in UTF-8. */
export const MAX_TEXT_BYTES = 4096;
/** Every integer up to this one is exact in a float of 64 bits. */
export const MAX_EXACT_DOUBLE: number = Number.MAX_SAFE_INTEGER;
/** Every integer up to this one is exact in a float of 32 bits. */
export const MAX_EXACT_FLOAT: number = 2 ** 24 - 1;

/** The characters that are removed from both ends, which are those of String.prototype.trim(). */
export const WHITE_SPACE: string =
  '\t\n\v\f\r \u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a' +
  '\u2028\u2029\u202f\u205f\u3000\ufeff';

/** Texts by which data frames write a missing number. */
export const NAN_TEXTS: readonly string[] = ['nan', 'NaN'];

/** Regular expressions that mean the same in JavaScript and in RE2, which DuckDB uses. */
export const ID_PATTERNS = {
  /** Most ids: unless it is one of NAN_TEXTS, a text of this form is an id as it is. */
  plain: '[0-9A-Za-z_:/-]+',
  control: '\\p{Cc}',
  /**
   * A whole number as a float is written. Data frames turn a column of integers with gaps into
   * floats, and the identifier in 17850.0 is 17850. The number is in the groups 1 and 2.
   */
  wholeFloat: '^(?:(-?[1-9][0-9]*)|-?(0))\\.0+$',
  /** A number as spreadsheets and programs write it once digits are lost. */
  exponent: '^-?[0-9](?:\\.[0-9]+)?[eE]\\+[0-9]+$|^-?[0-9]\\.[0-9]+[eE][0-9]+$',
} as const;

type ReceivedKind =
  | 'boolean'
  | 'list'
  | 'object'
  | 'fraction'
  | 'inexact'
  | 'exponent'
  | 'control'
  | 'unicode'
  | 'longId'
  | 'longText';

/** What can come where an id, a name or a text is expected, in the words of messages. */
export const RECEIVED: Readonly<Record<ReceivedKind, string>> = {
  boolean: 'a boolean',
  list: 'a list',
  object: 'an object',
  fraction: 'a number with a fraction',
  inexact: 'a number that floating point does not hold exactly',
  exponent: 'a number with an exponent',
  control: 'a control character',
  unicode: 'text that is not valid Unicode',
  longId: `more than ${MAX_ID_BYTES} bytes`,
  longText: `more than ${MAX_TEXT_BYTES} bytes`,
};

/** Why a value is no id, no name or no text. */
export class Refusal {
  /** What came, in the words of messages. */
  readonly received: string;
  /** Whether there is no value at all: an import then counts the value as missing. */
  readonly missing: boolean;

  constructor(received: string, missing = false) {
    this.received = received;
    this.missing = missing;
  }
}

const plain = new RegExp(`^${ID_PATTERNS.plain}$`);
/** Half of a surrogate pair. UTF-8 cannot write it, so no text of a file has one. */
const surrogate = /\p{Surrogate}/u;
const control = new RegExp(ID_PATTERNS.control, 'u');
const wholeFloat = new RegExp(ID_PATTERNS.wholeFloat, 'u');
const exponent = new RegExp(ID_PATTERNS.exponent, 'u');

/**
 * Reads an id or a name (of a category, an action, a country...) wherever it comes from: text, or a
 * whole number in any type of number.
 *
 * @returns the id without white space at its ends. A whole number is its digits: 17850, 17850.0 and
 *   "17850.0" are the id "17850".
 */
export function readId(value: unknown): string | Refusal {
  if (typeof value !== 'string') return readNumber(value);
  const isPlain = value.length <= MAX_ID_BYTES && plain.test(value);
  if (isPlain && !NAN_TEXTS.includes(value)) return value;
  const text = value.trim();
  if (text === '') return new Refusal('no text', true);
  if (NAN_TEXTS.includes(text)) return new Refusal('a missing number', true);
  if (surrogate.test(text)) return new Refusal(RECEIVED.unicode);
  if (control.test(text)) return new Refusal(RECEIVED.control);
  if (exceeds(text, MAX_ID_BYTES)) return new Refusal(RECEIVED.longId);
  if (exponent.test(text)) return new Refusal(RECEIVED.exponent);
  return text.replace(wholeFloat, '$1$2');
}

/**
 * Reads a title or a search query: text, or a whole number. Unlike an id, a text may have line
 * breaks, and "2.0" remains "2.0".
 *
 * @returns the text without white space at its ends; it may be empty.
 */
export function readText(value: unknown): string | Refusal {
  if (typeof value !== 'string') return readNumber(value);
  const text = value.trim();
  if (surrogate.test(text)) return new Refusal(RECEIVED.unicode);
  return exceeds(text, MAX_TEXT_BYTES) ? new Refusal(RECEIVED.longText) : text;
}

function readNumber(value: unknown): string | Refusal {
  if (typeof value === 'bigint') return String(value);
  if (typeof value !== 'number') return refuseKind(value);
  if (!Number.isFinite(value)) return new Refusal('a missing number', true);
  if (!Number.isInteger(value)) return new Refusal(RECEIVED.fraction);
  if (!Number.isSafeInteger(value)) return new Refusal(RECEIVED.inexact);
  return String(value);
}

function refuseKind(value: unknown): Refusal {
  if (value === undefined || value === null) return new Refusal('nothing', true);
  if (typeof value === 'boolean') return new Refusal(RECEIVED.boolean);
  return new Refusal(Array.isArray(value) ? RECEIVED.list : RECEIVED.object);
}

/** Whether UTF-8 needs more than `most` bytes for `text`. */
function exceeds(text: string, most: number): boolean {
  return text.length > most || (3 * text.length > most && Buffer.byteLength(text) > most);
}
