// setup:tensorflow extracts files from a Python wheel only when they have the digests of the
// wheel's RECORD.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { deflateRawSync } from 'node:zlib';
// @ts-expect-error - a tool in plain JavaScript.
import * as tool from '../tools/wheel.mjs';

const { Wheel, WheelError } = tool as {
  Wheel: {
    open(path: string): Promise<{
      names(): string[];
      extract(name: string, target: string): Promise<boolean>;
    }>;
  };
  WheelError: new () => Error;
};

const root = mkdtempSync(join(tmpdir(), 'tandem-wheel-'));
after(() => {
  rmSync(root, { recursive: true });
});

const LIBRARY = Buffer.from(Array.from({ length: 100_000 }, (_, i) => (i * i) % 251));
const FILES = new Map([
  ['tensorflow/lib.so.2', LIBRARY],
  ['tensorflow/c_api.h', Buffer.from('int TF_Version;\n')],
]);

/**
 * Makes a zip archive: local headers with data, the directory, its end. Names that end in .h are
 * stored, others deflated.
 */
function archive(files: ReadonlyMap<string, Buffer>): Buffer {
  const locals: Buffer[] = [];
  const directory: Buffer[] = [];
  let offset = 0;
  for (const [name, bytes] of files) {
    const data = name.endsWith('.h') ? bytes : deflateRawSync(bytes);
    const entry = Buffer.alloc(46);
    entry.writeUInt32LE(0x02014b50, 0);
    entry.writeUInt16LE(name.endsWith('.h') ? 0 : 8, 10);
    entry.writeUInt32LE(data.length, 20);
    entry.writeUInt32LE(bytes.length, 24);
    entry.writeUInt16LE(name.length, 28);
    entry.writeUInt32LE(offset, 42);
    directory.push(entry, Buffer.from(name));
    const local = Buffer.alloc(30);
    local.writeUInt32LE(0x04034b50, 0);
    local.writeUInt16LE(name.length, 26);
    locals.push(local, Buffer.from(name), data);
    offset += 30 + name.length + data.length;
  }
  const listed = Buffer.concat(directory);
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x06054b50, 0);
  end.writeUInt16LE(files.size, 10);
  end.writeUInt32LE(listed.length, 12);
  end.writeUInt32LE(offset, 16);
  return Buffer.concat([...locals, listed, end]);
}

function wheelOf(files: ReadonlyMap<string, Buffer>): Buffer {
  const record = [...files].map(
    ([name, bytes]) =>
      `${name},sha256=${createHash('sha256').update(bytes).digest('base64url')},${bytes.length}`,
  );
  const text = Buffer.from([...record, 'tensorflow-2.dist-info/RECORD,,', ''].join('\n'));
  return archive(new Map([...files, ['tensorflow-2.dist-info/RECORD', text]]));
}

function written(bytes: Buffer): { path: string; folder: string } {
  const folder = mkdtempSync(join(root, 'case-'));
  const path = join(folder, 'tensorflow-2.whl');
  writeFileSync(path, bytes);
  return { path, folder };
}

describe('a wheel', () => {
  it('extracts a file once, and again when the file has changed', async () => {
    const { path, folder } = written(wheelOf(FILES));
    const wheel = await Wheel.open(path);
    for (const [name, bytes] of FILES) {
      const target = join(folder, 'out', name);
      assert.equal(await wheel.extract(name, target), true);
      assert.deepEqual(readFileSync(target), bytes);
      assert.equal(await wheel.extract(name, target), false);
      writeFileSync(target, bytes.subarray(1));
      assert.equal(await wheel.extract(name, target), true);
      assert.deepEqual(readFileSync(target), bytes);
    }
  });

  it('extracts nothing when a digest differs from its RECORD', async () => {
    const other = wheelOf(FILES);
    // The header is stored without compression, so its text is in the archive.
    other.write('TF_Versiom', other.indexOf('TF_Version'));
    const { path, folder } = written(other);
    const target = join(folder, 'c_api.h');
    await assert.rejects(
      (await Wheel.open(path)).extract('tensorflow/c_api.h', target),
      WheelError,
    );
    assert.ok(!readdirSync(folder).includes('c_api.h'));
  });

  it('is rejected when a part of it or its RECORD is missing', async () => {
    const whole = wheelOf(FILES);
    for (const bytes of [whole.subarray(0, whole.length / 2), Buffer.alloc(0), archive(FILES)])
      await assert.rejects(Wheel.open(written(bytes).path), WheelError);
  });
});
