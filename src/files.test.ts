import assert from 'node:assert/strict';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import {
  removeTemporaries,
  TEMPORARY_PREFIX,
  writeFileAtomic,
  writeFileSynced,
  writeFolderAtomic,
} from './files.ts';

const root = mkdtempSync(join(tmpdir(), 'tandem-files-'));
after(() => {
  rmSync(root, { recursive: true });
});

function folder(): string {
  return mkdtempSync(join(root, 'case-'));
}

describe('writeFileAtomic', () => {
  it('creates folders, replaces content and leaves nothing else', () => {
    const directory = join(folder(), 'a', 'b');
    writeFileAtomic(join(directory, 'x'), 'one');
    writeFileAtomic(join(directory, 'x'), Uint8Array.of(50, 0, 51));
    assert.deepEqual([...readFileSync(join(directory, 'x'))], [50, 0, 51]);
    assert.deepEqual(readdirSync(directory), ['x']);
  });

  it('removes its temporary file when the rename fails', () => {
    const directory = folder();
    mkdirSync(join(directory, 'x'));
    assert.throws(() => {
      writeFileAtomic(join(directory, 'x'), 'one');
    });
    assert.deepEqual(readdirSync(directory), ['x']);
  });
});

describe('writeFolderAtomic', () => {
  it('shows the folder under its name only when it is whole', async () => {
    const directory = folder();
    const target = join(directory, 'done');
    await writeFolderAtomic(target, async (temporary) => {
      writeFileSynced(join(temporary, 'one'), '1');
      await new Promise(setImmediate);
      assert.ok(!existsSync(target));
      writeFileSynced(join(temporary, 'two'), '2');
    });
    assert.deepEqual(readdirSync(target).sort(), ['one', 'two']);
    assert.deepEqual(readdirSync(directory), ['done']);
  });

  it('leaves nothing behind when its builder throws', async () => {
    const directory = folder();
    const build = (temporary: string): void => {
      writeFileSynced(join(temporary, 'one'), '1');
      throw new Error('disk full');
    };
    await assert.rejects(writeFolderAtomic(join(directory, 'done'), build), /disk full/);
    assert.deepEqual(readdirSync(directory), []);
  });

  it('never replaces a folder that has content', async () => {
    const directory = folder();
    const target = join(directory, 'done');
    const write = (text: string): Promise<void> =>
      writeFolderAtomic(target, (temporary) => {
        writeFileSynced(join(temporary, 'one'), text);
      });
    await write('first');
    await assert.rejects(write('second'), { code: /ENOTEMPTY|EEXIST/ });
    assert.equal(readFileSync(join(target, 'one'), 'utf8'), 'first');
    assert.deepEqual(readdirSync(directory), ['done']);
  });
});

describe('removeTemporaries', () => {
  it('removes what killed jobs left, files and folders, and nothing else', () => {
    const directory = folder();
    mkdirSync(join(directory, `${TEMPORARY_PREFIX}x`));
    writeFileSync(join(directory, `${TEMPORARY_PREFIX}x`, 'inner'), '');
    writeFileSync(join(directory, `${TEMPORARY_PREFIX}y`), '');
    writeFileSync(join(directory, 'kept'), '');
    mkdirSync(join(directory, 'tmp-kept'));
    removeTemporaries(directory);
    assert.deepEqual(readdirSync(directory).sort(), ['kept', 'tmp-kept']);
  });
});
