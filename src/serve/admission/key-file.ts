// The file of API keys: SHA-256 digests, never the keys. A fast hash is enough, because a key is 256 random bits: there
// is nothing to guess (NIST SP 800-63B asks for a slow one where people choose the secret).

import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { TandemError } from '../../errors.ts';
import { writeFileAtomic } from '../../files.ts';
import { sha256Hex } from '../../json.ts';

/** `candidates` may ask for candidates, `ingest` may send events, `metrics` may read /metrics and /version, `admin` may do everything. */
export const ROLES = ['candidates', 'ingest', 'metrics', 'admin'] as const;
export type Role = (typeof ROLES)[number];

export interface KeyRecord {
  /** The part of the key that is no secret: names it in logs and finds its record. */
  readonly id: string;
  readonly name: string;
  readonly role: Role;
  /** Of the whole key, as lower-case hex. */
  readonly sha256: string;
  /** Unlimited when absent. */
  readonly requestsPerSecond?: number | undefined;
  /** By default what a second brings, at least 1. */
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

/** @throws TandemError ERR_CONFIG_INVALID with the first thing that is wrong. */
export function readKeyFile(path: string): readonly KeyRecord[] {
  let value: unknown;
  try {
    value = JSON.parse(readFileSync(path, 'utf8'));
  } catch (cause) {
    throw keyFileError(path, cause instanceof Error ? cause.message : String(cause), cause);
  }
  const parsed = keyFile.safeParse(value);
  if (!parsed.success) {
    const { path: at, message } = parsed.error.issues[0]!;
    throw keyFileError(path, `${at.join('.') || 'the file'}: ${message}`);
  }
  const { keys } = parsed.data;
  for (const member of ['id', 'name'] as const)
    if (new Set(keys.map((key) => key[member])).size < keys.length)
      throw keyFileError(path, `two keys have the same ${member}`);
  return keys;
}

/** Replaces the file in one step: a server that reads it sees the old keys or the new. */
export function writeKeyFile(path: string, keys: readonly KeyRecord[]): void {
  writeFileAtomic(path, `${JSON.stringify({ keys }, null, 2)}\n`);
}

/** @returns the key, which exists nowhere else from now on, and what the file keeps of it. */
export function newKey(fields: Omit<KeyRecord, 'id' | 'sha256'>): {
  key: string;
  record: KeyRecord;
} {
  const id = randomBytes(ID_BYTES).toString('hex');
  const key = `tandem_${id}_${randomBytes(SECRET_BYTES).toString('base64url')}`;
  return { key, record: { id, ...fields, sha256: sha256Hex(key) } };
}

/** The id inside a key, or undefined when the text has not the shape of one. */
export function keyIdOf(key: string): string | undefined {
  return KEY_SHAPE.exec(key)?.[1];
}

function keyFileError(path: string, found: string, cause?: unknown): TandemError {
  return new TandemError(
    'ERR_CONFIG_INVALID',
    `Expected a file of API keys in ${path} (setting keys), but: ${found}. "tandem keys add" writes one.`,
    { cause, details: { setting: 'keys', path } },
  );
}
