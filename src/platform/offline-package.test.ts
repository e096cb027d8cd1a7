import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TandemError } from '../errors.ts';
import { loadOffline } from './offline-package.ts';
import { packageVersion } from './version.ts';

const notFound = (name: string): Error =>
  Object.assign(new Error(`Cannot find package '${name}' imported from /app/x.js`), {
    code: 'ERR_MODULE_NOT_FOUND',
  });

void test('names what needs the package, and the command that installs it', async () => {
  await assert.rejects(
    loadOffline('tandem train', () => Promise.reject(notFound('tandem-offline'))),
    (error) => {
      assert.ok(error instanceof TandemError);
      assert.equal(error.code, 'ERR_PACKAGE_MISSING');
      assert.equal(
        error.message,
        'tandem train needs the package tandem-offline. ' +
          `Install it: npm install tandem-offline@${packageVersion()}`,
      );
      return true;
    },
  );
});

void test('leaves every other error and every result as they are', async () => {
  const other = notFound('another-package');
  await assert.rejects(
    loadOffline('tandem train', () => Promise.reject(other)),
    (error) => error === other,
  );
  assert.equal(await loadOffline('tandem train', () => Promise.resolve(7)), 7);
});
