// The addon as a whole: what it exports, how it is loaded, and how arguments are refused.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { packageRoot } from '../package-root.ts';
import { nativeAddon } from './addon.ts';
import type { Isa } from './isa.ts';

const addon = nativeAddon();
const addonPath = join(packageRoot(), 'build', 'Release', 'tandem.node');

test('exports what NativeAddon declares', () => {
  assert.match(addon.version, /^\d+\.\d+\.\d+/);
  assert.match(addon.usearchVersion, /^2\.\d+\.\d+$/);
  assert.equal(addon.availableIsas[0], 'scalar');
  assert.ok(addon.availableIsas.includes(addon.defaultIsa));
  assert.deepEqual(Object.keys(addon.ops).sort(), [
    'adam',
    'adamRows',
    'binary',
    'copyRows',
    'gatherRows',
    'matmul',
    'reduce',
    'scatterAddRows',
    'softmax',
    'transpose',
    'unary',
  ]);
});

test('TANDEM_ISA chooses the default and is refused when the CPU lacks it', () => {
  for (const isa of ['scalar', 'avx2', 'avx512', 'amx', 'neon', 'sse9']) {
    const load = spawnSync(
      process.execPath,
      ['-p', `require(${JSON.stringify(addonPath)}).defaultIsa`],
      { encoding: 'utf8', env: { ...process.env, TANDEM_ISA: isa } },
    );
    if ((addon.availableIsas as readonly string[]).includes(isa)) {
      assert.equal(load.stdout.trim(), isa);
      continue;
    }
    assert.notEqual(load.status, 0);
    const listed = `runs \\(${addon.availableIsas.join(', ')}\\), received "${isa}"`;
    assert.match(load.stderr, new RegExp(`Expected TANDEM_ISA .*${listed}`, 's'));
    assert.match(load.stderr, /ERR_CONFIG_INVALID/);
  }
});

test('an unknown isa is refused with the list of what there is', () => {
  const vectors = Float32Array.of(1, 2);
  assert.throws(() => new addon.ExactIndex(vectors, 2, 'mmx' as Isa), {
    name: 'RangeError',
    message: /isa \(scalar.*received "mmx"/,
  });
});

test('loads in several worker threads and survives their end', async () => {
  const source = `
    const addon = require(${JSON.stringify(addonPath)});
    const a = new Float32Array(256 * 256).fill(1);
    const out = new Float32Array(256 * 256);
    for (let i = 0; i < 20; i++)
      addon.ops.matmul(a, a, out, 1, 256, 256, 256, false, false, 0, 0, null, false);
    require('node:worker_threads').parentPort.postMessage(out.every((value) => value === 256));`;
  const results = await Promise.all(
    [0, 1, 2].map(
      () =>
        new Promise((resolve, reject) => {
          const worker = new Worker(source, { eval: true });
          worker.once('message', resolve);
          worker.once('error', reject);
        }),
    ),
  );
  assert.deepEqual(results, [true, true, true]);
});

test('wrong types are TypeErrors that name argument and type', () => {
  const f32 = new Float32Array(4);
  const index = new addon.ExactIndex(Float32Array.of(1, 0, 0, 1), 2);
  const out = { rows: new Int32Array(1), scores: new Float32Array(1), counts: new Int32Array(1) };
  const cases: [() => void, RegExp][] = [
    [() => new addon.ExactIndex([1, 2] as never, 2), /Float32Array for vectors, received Array/],
    [() => new addon.ExactIndex(new Float64Array(4) as never, 2), /received Float64Array/],
    [() => new addon.ExactIndex(f32, '2' as never), /number for dimensions, received string/],
    [() => new addon.Head(null as never), /object for weights, received null/],
    [
      () => {
        addon.ops.unary('exp', f32, undefined as never);
      },
      /Float32Array for out, received undefined/,
    ],
    [() => addon.HnswIndex.load({} as never, 2), /Uint8Array for bytes, received object/],
    [
      () => {
        addon.ops.softmax(f32, f32, 2, null as never);
      },
      /number for columns, received null/,
    ],
  ];
  for (const [call, message] of cases) assert.throws(call, { name: 'TypeError', message });
  assert.throws(
    () => {
      index.search(f32.subarray(0, 2), 1, 1, [1] as never, out);
    },
    {
      name: 'TypeError',
      message: /Uint32Array for allow, received Array/,
    },
  );
});

test('huge, negative and fractional sizes are RangeErrors, not allocations', () => {
  const f32 = new Float32Array(4);
  const i32 = new Int32Array(1);
  for (const size of [-1, 1.5, NaN, Infinity, 2 ** 31, 2 ** 53]) {
    assert.throws(() => {
      addon.ops.softmax(f32, f32, size, 1);
    }, RangeError);
    assert.throws(() => new addon.ExactIndex(f32, size), RangeError);
    assert.throws(() => {
      addon.ops.gatherRows(f32, i32, f32, size);
    }, RangeError);
    for (let at = 0; at < 6; at++)
      assert.throws(() => {
        const [from, fromStride, to, toStride, rows, run] = [0, 1, 0, 1, 2, 1].map((fits, i) =>
          i === at ? size : fits,
        ) as [number, number, number, number, number, number];
        addon.ops.copyRows(f32, from, fromStride, new Float32Array(4), to, toStride, rows, run);
      }, RangeError);
  }
  const most = 2 ** 31 - 1;
  assert.throws(() => {
    addon.ops.matmul(f32, f32, f32, most, most, most, most, false, false, most, most, null, false);
  }, RangeError);
});
