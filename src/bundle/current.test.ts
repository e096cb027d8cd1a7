// The file `current` after any sequence of activations, rollbacks and prunings.

import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { after, test } from 'node:test';
import fc from 'fast-check';
import {
  MIN_KEPT_BUNDLES,
  activateBundle,
  bundleBefore,
  listBundles,
  pruneBundles,
  readHistory,
  resolveBundle,
  rollbackBundle,
} from './current.ts';
import { MANIFEST_FILE } from './manifest.ts';

const root = mkdtempSync(join(tmpdir(), 'tandem-current-'));
after(() => {
  rmSync(root, { recursive: true });
});

/**
 * A directory of bundles that have nothing but a manifest file, since only its existence is tested.
 */
function directoryOf(names: readonly string[]): string {
  const directory = mkdtempSync(join(root, 'bundles-'));
  for (const name of names) {
    mkdirSync(join(directory, name));
    writeFileSync(join(directory, name, MANIFEST_FILE), '{}');
  }
  return directory;
}

const current = (directory: string): string => basename(resolveBundle(directory));

test('repeated rollbacks go back through the order of activation', () => {
  const directory = directoryOf(['a', 'b', 'c']);
  for (const name of ['a', 'b', 'c', 'b']) activateBundle(directory, name);
  assert.deepEqual(readHistory(directory), ['b', 'c', 'a']);
  assert.equal(bundleBefore(directory), 'c');
  assert.equal(rollbackBundle(directory), 'c');
  assert.equal(rollbackBundle(directory), 'a');
  assert.equal(current(directory), 'a');
  assert.throws(() => rollbackBundle(directory), { code: 'ERR_BUNDLE_NOT_FOUND' });
  assert.equal(current(directory), 'a');
  assert.deepEqual(listBundles(directory), ['a', 'b', 'c']);
});

test('a rollback skips a bundle whose directory was deleted', () => {
  const directory = directoryOf(['a', 'b', 'c']);
  for (const name of ['a', 'b', 'c']) activateBundle(directory, name);
  rmSync(join(directory, 'b'), { recursive: true });
  assert.equal(rollbackBundle(directory), 'a');
});

test('activations, rollbacks and prunings agree with a list kept by hand', () => {
  const names = ['a', 'b', 'c', 'd', 'e', 'f'];
  const step = fc.oneof(
    fc.record({ kind: fc.constant('activate' as const), name: fc.constantFrom(...names) }),
    fc.record({ kind: fc.constant('rollback' as const) }),
    fc.record({
      kind: fc.constant('prune' as const),
      keep: fc.integer({ min: MIN_KEPT_BUNDLES, max: 5 }),
    }),
  );
  fc.assert(
    fc.property(fc.array(step, { minLength: 1, maxLength: 20 }), (steps) => {
      const directory = directoryOf(names);
      let history: string[] = [];
      const there = new Set(names);
      for (const todo of steps) {
        if (todo.kind === 'activate') {
          if (!there.has(todo.name)) {
            assert.throws(() => {
              activateBundle(directory, todo.name);
            });
            continue;
          }
          activateBundle(directory, todo.name);
          history = [todo.name, ...history.filter((name) => name !== todo.name)];
        } else if (todo.kind === 'rollback') {
          if (history.length < 2) continue;
          assert.equal(rollbackBundle(directory), history[1]);
          history = history.slice(1);
        } else {
          const deleted = pruneBundles(directory, todo.keep);
          assert.deepEqual(deleted, history.slice(todo.keep));
          for (const name of deleted) there.delete(name);
          history = history.slice(0, todo.keep);
        }
        assert.deepEqual(readHistory(directory), history);
        for (const name of names) assert.equal(existsSync(join(directory, name)), there.has(name));
      }
    }),
    { numRuns: 50 },
  );
});

test('pruning refuses to keep fewer bundles than a rollback needs', () => {
  assert.throws(() => pruneBundles(directoryOf(['a']), 2), /at least 3/);
});
