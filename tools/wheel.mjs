// Reads a Python wheel, which is a zip archive: extracts files by name and checks each by the
// SHA-256 in the wheel's RECORD. Which files are needed is decided by setup-tensorflow.mjs.
//
// The zip reader is our own, because it must stream: a wheel has several hundred MB. None of our
// dependencies reads zip archives; adm-zip, which comes with the optional tfjs-node-gpu, reads a
// whole archive into memory.
import { Buffer } from 'node:buffer';
import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream, existsSync, mkdirSync, renameSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { dirname } from 'node:path';
import { Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createInflateRaw, inflateRawSync } from 'node:zlib';

const END_OF_DIRECTORY = 0x06054b50;
const ENTRY = 0x02014b50;
/** The end record of the directory is within this many bytes of the end of the file. */
const TAIL = 22 + 0xffff;
const DEFLATED = 8;

/** A file that is not a valid wheel. The message is for the user who gave the file. */
export class WheelError extends Error {}

export class Wheel {
  #path;
  #entries;
  #digests;

  constructor(path, entries, digests) {
    this.#path = path;
    this.#entries = entries;
    this.#digests = digests;
  }

  /** @throws WheelError when the file is not a wheel, or only a part of one. */
  static async open(path) {
    const file = await open(path);
    try {
      const entries = await readDirectory(file, path);
      const record = [...entries.keys()].find((name) => name.endsWith('.dist-info/RECORD'));
      if (record === undefined)
        throw new WheelError(`Expected a Python wheel at ${path}, found no RECORD in it.`);
      const text = String(await readWhole(file, entries.get(record)));
      const digests = new Map();
      for (const line of text.split('\n')) {
        const [, name, digest] = /^"?(.+?)"?,sha256=([\w-]+),/.exec(line) ?? [];
        if (name !== undefined) digests.set(name, digest);
      }
      return new Wheel(path, entries, digests);
    } finally {
      await file.close();
    }
  }

  names() {
    return [...this.#entries.keys()];
  }

  /**
   * Extracts one file. It is renamed to `target` only when it is complete and has the right digest.
   *
   * @returns false when `target` already had the right digest.
   */
  async extract(name, target) {
    const expected = this.#digests.get(name);
    if (expected === undefined)
      throw new WheelError(
        `Expected a digest of ${name} in the RECORD of ${this.#path}, found none.`,
      );
    if (existsSync(target) && (await digestOf(target)) === expected) return false;
    mkdirSync(dirname(target), { recursive: true });
    const entry = this.#entries.get(name);
    const file = await open(this.#path);
    const hash = createHash('sha256');
    try {
      const start = await dataOffset(file, entry);
      const compressed = file.createReadStream({
        start,
        end: start + entry.compressedBytes - 1,
        autoClose: false,
      });
      const tap = new Transform({
        transform(chunk, _encoding, done) {
          hash.update(chunk);
          done(null, chunk);
        },
      });
      const out = createWriteStream(`${target}.partial`);
      if (entry.method === DEFLATED) await pipeline(compressed, createInflateRaw(), tap, out);
      else await pipeline(compressed, tap, out);
    } finally {
      await file.close();
    }
    const received = hash.digest('base64url');
    if (received !== expected)
      throw new WheelError(
        `Expected SHA-256 ${expected} of ${name}, received ${received}: ` +
          `${this.#path} is damaged. Delete it and download it again.`,
      );
    renameSync(`${target}.partial`, target);
    return true;
  }
}

/** Reads the directory of the archive: for each name, where its bytes are. */
async function readDirectory(file, path) {
  const { size } = await file.stat();
  const tail = await readAt(file, Math.max(0, size - TAIL), Math.min(size, TAIL));
  let end = tail.length - 22;
  while (end >= 0 && tail.readUInt32LE(end) !== END_OF_DIRECTORY) end--;
  if (end < 0)
    throw new WheelError(
      `Expected a Python wheel (a zip archive) at ${path}, ` +
        `received ${size} bytes of something else, or a part of one. Download it again.`,
    );
  const count = tail.readUInt16LE(end + 10);
  const directory = await readAt(file, tail.readUInt32LE(end + 16), tail.readUInt32LE(end + 12));
  const entries = new Map();
  let at = 0;
  for (let i = 0; i < count; i++) {
    if (directory.readUInt32LE(at) !== ENTRY)
      throw new WheelError(`Expected entry ${i} of the directory of ${path}, found other bytes.`);
    const [nameBytes, extraBytes, commentBytes] = [28, 30, 32].map((field) =>
      directory.readUInt16LE(at + field),
    );
    entries.set(directory.toString('utf8', at + 46, at + 46 + nameBytes), {
      method: directory.readUInt16LE(at + 10),
      compressedBytes: directory.readUInt32LE(at + 20),
      headerOffset: directory.readUInt32LE(at + 42),
    });
    at += 46 + nameBytes + extraBytes + commentBytes;
  }
  return entries;
}

async function dataOffset(file, { headerOffset }) {
  const header = await readAt(file, headerOffset, 30);
  return headerOffset + 30 + header.readUInt16LE(26) + header.readUInt16LE(28);
}

async function readWhole(file, entry) {
  const bytes = await readAt(file, await dataOffset(file, entry), entry.compressedBytes);
  return entry.method === DEFLATED ? inflateRawSync(bytes) : bytes;
}

async function readAt(file, position, length) {
  const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, position);
  if (bytesRead !== length)
    throw new WheelError(`Expected ${length} bytes at ${position}, read ${bytesRead}.`);
  return buffer;
}

async function digestOf(path) {
  const hash = createHash('sha256');
  await pipeline(createReadStream(path), hash);
  return hash.digest('base64url');
}
