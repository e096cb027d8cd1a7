import assert from 'node:assert/strict';
import { availableParallelism } from 'node:os';
import { test } from 'node:test';
import { logger } from '../../telemetry.ts';
import { checkSearchThreads, withSearchThreads } from './search-threads.ts';

test('a server is given threads for every CPU, unless somebody has said how many', () => {
  const { UV_THREADPOOL_SIZE: given } = withSearchThreads({ PATH: '/bin' });
  assert.ok(Number(given) >= Math.max(4, availableParallelism() + 2), given);
  assert.equal(withSearchThreads({ UV_THREADPOOL_SIZE: '3' })['UV_THREADPOOL_SIZE'], '3');
});

test('a server with fewer than its event loops need says how many', (t) => {
  const before = process.env['UV_THREADPOOL_SIZE'];
  const warnings: unknown[] = [];
  t.mock.method(logger, 'warn', (_facts: object, message: string) => warnings.push(message));
  try {
    delete process.env['UV_THREADPOOL_SIZE'];
    checkSearchThreads(2);
    process.env['UV_THREADPOOL_SIZE'] = '10';
    checkSearchThreads(8);
    assert.deepEqual(warnings, []);
    checkSearchThreads(9);
    assert.match(
      String(warnings),
      /^Expected at least 11 .* received 10: .* UV_THREADPOOL_SIZE=11 /,
    );
  } finally {
    if (before === undefined) delete process.env['UV_THREADPOOL_SIZE'];
    else process.env['UV_THREADPOOL_SIZE'] = before;
  }
});
