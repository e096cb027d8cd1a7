// Reads the files of a bundle, and checks each against size and digest in the manifest before its
// content is used.

import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { open, readdir, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { TandemError } from '../errors.ts';
import { sha256Hex } from '../json.ts';
import { bundleId } from './identity.ts';
import {
  BUNDLE_FILES,
  MANIFEST_FILE,
  manifestText,
  parseManifest,
  type BundleManifest,
} from './manifest.ts';

export type BundleFile = keyof typeof BUNDLE_FILES;

/**
 * Bytes of one read call. Server kernels often run without preemption: a system call then keeps its
 * core until it ends or yields, which can take tens of megabytes of a large read. During that time,
 * an event loop on the same core could not run.
 */
const READ_BYTES = 1 << 20;

/**
 * Reads the manifest of a bundle, and checks that it is in its canonical text and that its bundleId
 * is the digest of its content.
 *
 * @throws TandemError ERR_BUNDLE_NOT_FOUND without a manifest.json; ERR_BUNDLE_INVALID for anything
 *   wrong in it.
 */
export async function readManifest(directory: string): Promise<BundleManifest> {
  const path = join(directory, MANIFEST_FILE);
  let text: string;
  try {
    text = Buffer.from(await readWhole(path, undefined)).toString('utf8');
  } catch (cause) {
    if (!isMissing(cause)) throw cause;
    throw new TandemError(
      'ERR_BUNDLE_NOT_FOUND',
      `Expected a bundle in ${directory}, but it has no ${MANIFEST_FILE}. ` +
        'Publish one, or name another directory.',
      { cause, details: { directory } },
    );
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw invalid(path, 'JSON', 'something else', cause);
  }
  const manifest = parseManifest(value);
  const id = bundleId(manifest);
  if (id !== manifest.bundleId)
    throw invalid(path, `the bundleId of its content, ${id}`, manifest.bundleId);
  if (manifestText(manifest) !== text)
    throw invalid(path, 'the text that publishing wrote', 'the same content written differently');
  const listed = Object.keys(manifest.files).sort().join(', ');
  const expected = Object.values(BUNDLE_FILES).sort().join(', ');
  if (listed !== expected) throw invalid(path, `the files ${expected}`, listed);
  return manifest;
}

/**
 * Reads and checks every file of a bundle, into memory that threads can share.
 *
 * Files are copied and not mapped, so that a change on disk cannot change what a server serves.
 *
 * @throws TandemError ERR_BUNDLE_INVALID naming the file that is missing, unknown, or of another
 *   size or digest.
 */
export async function readBundleFiles(
  directory: string,
  manifest: BundleManifest,
): Promise<Record<BundleFile, Uint8Array>> {
  const known = new Set<string>([MANIFEST_FILE, ...Object.values(BUNDLE_FILES)]);
  const unknown = (await readdir(directory)).filter((name) => !known.has(name));
  if (unknown.length > 0)
    throw invalid(directory, 'only the files of its manifest', `also ${unknown.join(', ')}`);
  const entries = await Promise.all(
    Object.entries(BUNDLE_FILES).map(async ([key, name]) => {
      const bytes = await readWhole(join(directory, name), manifest.files[name]!.bytes);
      checkDigest(directory, name, manifest, sha256Hex(bytes));
      return [key, bytes] as const;
    }),
  );
  return Object.fromEntries(entries) as Record<BundleFile, Uint8Array>;
}

/** Reads and checks one file again, for content that a server does not keep in memory. */
export function readBundleFileSync(
  directory: string,
  manifest: BundleManifest,
  file: BundleFile,
): Uint8Array {
  const name = BUNDLE_FILES[file];
  const path = join(directory, name);
  const { bytes: expected } = manifest.files[name]!;
  const handle = openSync(path, 'r');
  try {
    const { size } = fstatSync(handle);
    if (size !== expected) throw invalid(path, `${expected} bytes`, `${size} bytes`);
    const bytes = new Uint8Array(size);
    for (let offset = 0; offset < size;) {
      const read = readSync(handle, bytes, offset, Math.min(READ_BYTES, size - offset), offset);
      if (read === 0) throw invalid(path, `${size} bytes`, `${offset} bytes`);
      offset += read;
    }
    checkDigest(directory, name, manifest, sha256Hex(bytes));
    return bytes;
  } finally {
    closeSync(handle);
  }
}

/** Bytes of all files of a bundle together. */
export function bundleBytes({ files }: BundleManifest): number {
  return Object.values(files).reduce((sum, { bytes }) => sum + bytes, 0);
}

/**
 * Reads a whole file.
 *
 * @param expected - bytes that the file must have; undefined for any number.
 */
async function readWhole(path: string, expected: number | undefined): Promise<Uint8Array> {
  let file: FileHandle;
  try {
    file = await open(path, 'r');
  } catch (cause) {
    if (expected === undefined || !isMissing(cause)) throw cause;
    throw invalid(path, `a file of ${expected} bytes`, 'no such file', cause);
  }
  try {
    const { size } = await file.stat();
    if (expected !== undefined && size !== expected)
      throw invalid(path, `${expected} bytes`, `${size} bytes`);
    const bytes = new Uint8Array(new SharedArrayBuffer(size));
    for (let offset = 0; offset < size;) {
      const length = Math.min(READ_BYTES, size - offset);
      const { bytesRead } = await file.read(bytes, offset, length, offset);
      if (bytesRead === 0) throw invalid(path, `${size} bytes`, `${offset} bytes`);
      offset += bytesRead;
    }
    return bytes;
  } finally {
    await file.close();
  }
}

function checkDigest(
  directory: string,
  name: string,
  manifest: BundleManifest,
  received: string,
): void {
  const { sha256 } = manifest.files[name]!;
  if (received !== sha256) throw invalid(join(directory, name), `SHA-256 ${sha256}`, received);
}

function isMissing(error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException;
  return code === 'ENOENT' || code === 'ENOTDIR';
}

function invalid(path: string, expected: string, received: string, cause?: unknown): TandemError {
  return new TandemError(
    'ERR_BUNDLE_INVALID',
    `Expected ${expected} in ${path}, received ${received}. ` +
      'The bundle is damaged or was edited: delete its directory and publish it again.',
    { cause, details: { file: path, expected, received } },
  );
}
