// The file of API keys. It has SHA-256 digests, never the keys. A fast hash is enough: a key has
// 256 random bits and cannot be guessed. NIST SP 800-63B demands a slow hash only for secrets that
// people choose.

import { randomBytes } from 'node:crypto';
import { z } from 'zod';
import { TandemError } from '../../errors.ts';
import { describeIssue, readJsonFile, reasonOf } from '../../foreign-errors.ts';
import { writeFileAtomic } from '../../files.ts';
import { sha256Hex } from '../../json.ts';

/**
 * What a key allows:
 *
 * - candidates: to ask for candidates, embeddings, scores and items;
 * - ingest: to send events, and to put and delete items;
 * - metrics: to read /metrics and /version;
 * - admin: everything, also on the admin port.
 */
export const ROLES = ['candidates', 'ingest', 'metrics', 'admin'] as const;
export type Role = (typeof ROLES)[number];

export interface KeyRecord {
  /** The part of the key that is not secret. It identifies the record, also in logs. */
  readonly id: string;
  readonly name: string;
  readonly role: Role;
  /** SHA-256 of the whole key, as lower-case hex. */
  readonly sha256: string;
  /** The rate. Unlimited when absent. */
  readonly requestsPerSecond?: number | undefined;
  /** Requests that may come at once. The default is the rate of one second, at least 1. */
  readonly burst?: number | undefined;
}

const SECRET_BYTES = 32;
const ID_BYTES = 6;
const KEY_SHAPE = /^tandem_([0-9a-f]{12})_[A-Za-z0-9_-]{43}$/;

const record = z.strictObject({
  id: z.string().regex(/^[0-9a-f]{12}$/),
  name: z.string().min(1).max(64),
  role: z.enum(ROLES),
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
  requestsPerSecond: z.number().positive().optional(),
  burst: z.int().min(1).optional(),
});
const keyFile = z.strictObject({ keys: z.array(record) });

/** @throws TandemError ERR_CONFIG_INVALID, which names the first error in the file. */
export function readKeyFile(path: string): readonly KeyRecord[] {
  let value: unknown;
  try {
    value = readJsonFile(path);
  } catch (cause) {
    throw keyFileError(path, reasonOf(cause), cause);
  }
  const parsed = keyFile.safeParse(value);
  if (!parsed.success) {
    const issue = parsed.error.issues[0]!;
    const at = issue.path.join('.') || 'the file';
    throw keyFileError(path, `${at}: ${describeIssue(issue)}`);
  }
  const { keys } = parsed.data;
  for (const member of ['id', 'name'] as const)
    if (new Set(keys.map((key) => key[member])).size < keys.length)
      throw keyFileError(path, `two keys have the same ${member}`);
  return keys;
}

/** Replaces the file in one step. A server that reads it sees either the old or the new keys. */
export function writeKeyFile(path: string, keys: readonly KeyRecord[]): void {
  writeFileAtomic(path, `${JSON.stringify({ keys }, null, 2)}\n`);
}

/** @returns the key, which is stored nowhere, and its record for the file. */
export function newKey(fields: Omit<KeyRecord, 'id' | 'sha256'>): {
  key: string;
  record: KeyRecord;
} {
  const id = randomBytes(ID_BYTES).toString('hex');
  const key = `tandem_${id}_${randomBytes(SECRET_BYTES).toString('base64url')}`;
  return { key, record: { id, ...fields, sha256: sha256Hex(key) } };
}

/** Returns the id inside a key, or undefined when the text does not have the form of a key. */
export function keyIdOf(key: string): string | undefined {
  return KEY_SHAPE.exec(key)?.[1];
}

function keyFileError(path: string, found: string, cause?: unknown): TandemError {
  return new TandemError(
    'ERR_CONFIG_INVALID',
    `Expected a file of API keys in ${path} (setting keys), but: ${found}. ` +
      '"tandem keys add" writes one.',
    { cause, details: { setting: 'keys', path } },
  );
}
