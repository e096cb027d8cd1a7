// The bytes of a text file as UTF-8: decompressed and decoded by what the file contains, not by
// its name. A compressed file that was cut short is an error here, before a row of it is read.

import { open, type FileHandle } from 'node:fs/promises';
import { basename } from 'node:path';
import { Readable, type Transform } from 'node:stream';
import * as zlib from 'node:zlib';
import { TandemError } from '../../errors.ts';

/** Encoding of a file without a byte order mark; a mark wins over it. */
export type TextEncoding = 'utf-8' | 'latin-1';

type Blocks = AsyncGenerator<Buffer, void, undefined>;

const BLOCK_BYTES = 2 ** 20;
/** Bytes that decide about compression, and then about encoding. */
const HEAD_BYTES = 4;

/**
 * Reads a text file in blocks of about 1 MiB of UTF-8, without a byte order mark.
 *
 * gzip (with several members too) and zstd are recognised by their first bytes. UTF-16 is
 * recognised by its byte order mark. The bytes of a file in UTF-8 are not checked here.
 *
 * @throws TandemError ERR_DATASET_INVALID for a file that cannot be read, is cut short or damaged.
 */
export async function* readText(file: string, encoding: TextEncoding): Blocks {
  let handle: FileHandle | undefined;
  try {
    handle = await open(file, 'r');
    yield* decoded(decompressed(fileBlocks(handle), file), encoding);
  } catch (error) {
    throw error instanceof TandemError ? error : unreadable(file, error);
  } finally {
    await handle?.close();
  }
}

async function* fileBlocks(handle: FileHandle): Blocks {
  for (;;) {
    const block = Buffer.allocUnsafe(BLOCK_BYTES);
    const { bytesRead } = await handle.read(block, 0, BLOCK_BYTES);
    if (bytesRead === 0) return;
    yield block.subarray(0, bytesRead);
  }
}

async function* decompressed(source: Blocks, file: string): Blocks {
  const { head, blocks } = await withHead(source);
  if (startsWith(head, 0x1f, 0x8b))
    yield* through(blocks, zlib.createGunzip({ chunkSize: BLOCK_BYTES }));
  else if (startsWith(head, 0x28, 0xb5, 0x2f, 0xfd)) yield* through(blocks, zstd(file));
  else yield* blocks;
}

/** Node.js has zstd from 22.15 on. */
function zstd(file: string): Transform {
  const { createZstdDecompress } = zlib as {
    createZstdDecompress?: (options: zlib.ZlibOptions) => Transform;
  };
  if (createZstdDecompress !== undefined) return createZstdDecompress({ chunkSize: BLOCK_BYTES });
  throw new TandemError(
    'ERR_DATASET_INVALID',
    `Expected Node.js 22.15 or newer to read the zstd file ${basename(file)}, ` +
      `received ${process.version}. Decompress it first: zstd -d ${basename(file)}.`,
    { details: { file } },
  );
}

async function* through(source: Blocks, transform: Transform): Blocks {
  const input = Readable.from(source);
  input.on('error', (error) => transform.destroy(error));
  input.pipe(transform);
  try {
    yield* transform as AsyncIterable<Buffer>;
  } finally {
    input.destroy();
  }
}

async function* decoded(source: Blocks, encoding: TextEncoding): Blocks {
  const { head, blocks } = await withHead(source);
  if (startsWith(head, 0xef, 0xbb, 0xbf)) yield* withoutFirst(3, blocks);
  else if (startsWith(head, 0xff, 0xfe)) yield* fromUtf16('utf-16le', blocks);
  else if (startsWith(head, 0xfe, 0xff)) yield* fromUtf16('utf-16be', blocks);
  else if (encoding === 'latin-1')
    for await (const block of blocks) yield Buffer.from(block.toString('latin1'), 'utf8');
  else yield* blocks;
}

async function* withoutFirst(count: number, source: Blocks): Blocks {
  let skip = count;
  for await (const block of source) {
    yield block.subarray(skip);
    skip = 0;
  }
}

async function* fromUtf16(label: 'utf-16le' | 'utf-16be', source: Blocks): Blocks {
  const decoder = new TextDecoder(label, { fatal: true });
  for await (const block of source) yield Buffer.from(decoder.decode(block, { stream: true }));
  yield Buffer.from(decoder.decode());
}

/** The first bytes of a source, and all of its blocks, of which the first has those bytes. */
async function withHead(source: Blocks): Promise<{ head: Buffer; blocks: Blocks }> {
  let head: Buffer = Buffer.alloc(0);
  while (head.length < HEAD_BYTES) {
    const next = await source.next();
    if (next.done === true) break;
    head = head.length === 0 ? next.value : Buffer.concat([head, next.value]);
  }
  async function* all(): Blocks {
    if (head.length > 0) yield head;
    yield* source;
  }
  return { head, blocks: all() };
}

function startsWith(bytes: Buffer, ...mark: readonly number[]): boolean {
  return mark.every((byte, i) => bytes[i] === byte);
}

function unreadable(file: string, error: unknown): TandemError {
  const { code = '', message } = error as NodeJS.ErrnoException;
  const name = basename(file);
  const again = 'Copy or download it again.';
  const text =
    code === 'Z_BUF_ERROR'
      ? `Expected a complete compressed file, but ${name} was cut short (no end). ${again}`
      : /^(Z_|ZSTD_|ERR_ZLIB)/.test(code)
        ? `Expected an intact compressed file, but ${name} is damaged (${message}). ${again}`
        : code === 'ERR_ENCODING_INVALID_ENCODED_DATA'
          ? `Expected complete UTF-16, which the byte order mark of ${name} announces, ` +
            `but found bytes that are not. ${again} Or convert it to UTF-8.`
          : code === 'EACCES' || code === 'EPERM'
            ? `Expected permission to read ${file}, which the system refused (${code}).`
            : `Expected a readable file at ${file}, but reading failed (${code || message}).`;
  return new TandemError('ERR_DATASET_INVALID', text, { details: { file }, cause: error });
}
