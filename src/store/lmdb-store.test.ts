import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { storeConformance, userId, userState } from '../../test/support/store-conformance.ts';
import { TYPESCRIPT } from '../../test/support/typescript.ts';
import type { EncoderId } from '../ids.ts';
import { LmdbStore } from './lmdb-store.ts';
import { newStateBatch } from './state-batch.ts';

const root = mkdtempSync(join(tmpdir(), 'tandem-lmdb-'));
const ENCODER = 'c'.repeat(64) as EncoderId;

after(() => {
  rmSync(root, { recursive: true, force: true });
});

storeConformance('LmdbStore', () => LmdbStore.open(mkdtempSync(join(root, 'store-'))));

describe('LmdbStore', () => {
  it('rejects writes on a full disk with the reason, and keeps running', () => {
    // A limit on the size of files stands for a full disk: 256 blocks of 1 KiB, fewer than the
    // writes need.
    const script = `
    import { LmdbStore } from ${JSON.stringify(import.meta.resolve('./lmdb-store.ts'))};
    const store = LmdbStore.open(${JSON.stringify(join(root, 'no-space'))});
    const times = { lastEventSeconds: 1, encodedAtSeconds: 2 };
    const state = { state: new Float32Array(256), dimensions: 256, type: 'f32', ...times };
    const write = (batch) => {
      const entries = Array.from({ length: 50 }, (_, i) => ({ user: batch + '-' + i, state }));
      return store.write('ab'.repeat(32), entries);
    };
    for (let i = 0; i < 4; i++)
      for (const { status, reason } of await Promise.allSettled([write(2 * i), write(2 * i + 1)]))
        console.log(status, reason?.code, reason?.message);
    await new Promise((resolve) => setTimeout(resolve, 50));
    await store.close();
    console.log('closed');`;
    const node = [process.execPath, ...TYPESCRIPT, '--input-type=module', '--eval', script];
    const { status, stdout, stderr } = spawnSync(
      'bash',
      ['-c', 'ulimit -f 256; exec "$@"', 'bash', ...node],
      { encoding: 'utf8' },
    );
    assert.equal(status, 0, stderr);
    assert.match(stdout, /^rejected ERR_STORE_UNAVAILABLE .* failed: (?!Commit failed)/m);
    assert.match(stdout, /closed\n$/);
  });

  it('keeps states and watermark when closed and opened again, also read-only', async () => {
    const directory = mkdtempSync(join(root, 'reopen-'));
    const store = LmdbStore.open(directory);
    await store.write(ENCODER, [{ user: userId('a'), state: userState(4) }]);
    await store.writeWatermark(ENCODER, 77);
    await store.close();
    for (const readOnly of [false, true]) {
      const reopened = LmdbStore.open(directory, { readOnly });
      const batch = newStateBatch(1, 4);
      reopened.read(ENCODER, [userId('a')], batch);
      assert.deepEqual([...batch.states], [4, 5, 6, 7]);
      assert.equal(await reopened.readWatermark(ENCODER), 77);
      await reopened.close();
    }
  });

  it('refuses a file that is not LMDB, without a crash', () => {
    for (const readOnly of [false, true]) {
      const directory = mkdtempSync(join(root, 'garbage-'));
      writeFileSync(join(directory, 'data.mdb'), Buffer.alloc(65_536, 'x'));
      assert.throws(() => LmdbStore.open(directory, { readOnly }), {
        code: 'ERR_STORE_UNAVAILABLE',
      });
    }
  });

  it('refuses an empty file when it is read-only', () => {
    const directory = mkdtempSync(join(root, 'empty-'));
    writeFileSync(join(directory, 'data.mdb'), '');
    assert.throws(() => LmdbStore.open(directory, { readOnly: true }), {
      code: 'ERR_STORE_UNAVAILABLE',
    });
  });

  it('detects a flipped bit on disk instead of answering with a wrong state', async () => {
    const directory = mkdtempSync(join(root, 'flip-'));
    const store = LmdbStore.open(directory);
    const state = { ...userState(0), state: Float32Array.of(1234.5, 6789.25, 0.125, 42.0625) };
    await store.write(ENCODER, [{ user: userId('a'), state }]);
    await store.close();
    const path = join(directory, 'data.mdb');
    const file = readFileSync(path);
    const payload = Buffer.from(state.state.buffer);
    let flipped = 0;
    for (let at = file.indexOf(payload); at >= 0; at = file.indexOf(payload, at + 1)) {
      file[at + 5]! ^= 0x10;
      flipped++;
    }
    assert.ok(flipped > 0);
    writeFileSync(path, file);
    const damaged = LmdbStore.open(directory);
    assert.throws(
      () => {
        damaged.read(ENCODER, [userId('a')], newStateBatch(1, 4));
      },
      { code: 'ERR_STORE_CORRUPT', message: /"a"/ },
    );
    await damaged.close();
  });

  it('shows a reader what another process has written', async () => {
    const directory = mkdtempSync(join(root, 'shared-'));
    const reader = LmdbStore.open(directory);
    const batch = newStateBatch(1, 4);
    reader.read(ENCODER, [userId('a')], batch);
    assert.equal(batch.lengths[0], 0);
    await writeInChild(directory, 'await store.close();');
    reader.read(ENCODER, [userId('a')], batch);
    assert.equal(batch.lengths[0], 1);
    assert.equal(batch.states[0], 9);
    await reader.close();
  });

  it('keeps an acknowledged write through kill -9', async () => {
    const directory = mkdtempSync(join(root, 'kill-'));
    await writeInChild(directory, 'process.kill(process.pid, "SIGKILL");');
    const store = LmdbStore.open(directory);
    const batch = newStateBatch(1, 4);
    store.read(ENCODER, [userId('a')], batch);
    assert.equal(batch.states[0], 9);
    await store.close();
  });

  it('says ERR_STORE_UNAVAILABLE where it cannot be opened', () => {
    const path = join(root, 'a-file');
    writeFileSync(path, '');
    assert.throws(() => LmdbStore.open(path), { code: 'ERR_STORE_UNAVAILABLE' });
    assert.throws(() => LmdbStore.open(join(root, 'nowhere'), { readOnly: true }), {
      code: 'ERR_STORE_UNAVAILABLE',
    });
  });
});

/** Writes a state of four nines for user "a" in another process, which then runs `ending`. */
async function writeInChild(directory: string, ending: string): Promise<void> {
  const script = `
    import { LmdbStore } from ${JSON.stringify(import.meta.resolve('./lmdb-store.ts'))};
    const store = LmdbStore.open(${JSON.stringify(directory)});
    const times = { lastEventSeconds: 1, encodedAtSeconds: 1 };
    const state = { state: Float32Array.of(9, 9, 9, 9), dimensions: 4, type: 'f32', ...times };
    await store.write(${JSON.stringify(ENCODER)}, [{ user: 'a', state }]);
    ${ending}`;
  const child = spawn(process.execPath, [...TYPESCRIPT, '--input-type=module', '--eval', script], {
    stdio: 'inherit',
  });
  await new Promise((resolve) => child.once('exit', resolve));
}
