// The server starts fast because nothing of training or ingestion is on its path: loading them must
// fail here.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { publishTinyBundle } from '../../../test/support/tiny-bundle.ts';
import { TYPESCRIPT } from '../../../test/support/typescript.ts';
import { LmdbStore } from '../../store/lmdb-store.ts';

const folder = mkdtempSync(join(tmpdir(), 'tandem-graph-'));
after(() => {
  rmSync(folder, { recursive: true });
});

test('a server that starts, answers and stops loads nothing of tandem-offline', async () => {
  await publishTinyBundle(join(folder, 'bundles'), { items: 50 });
  await LmdbStore.open(join(folder, 'store')).close();
  const server = new URL('server.ts', import.meta.url).href;
  const config = new URL('../../config.ts', import.meta.url).href;
  const flags = { bundles: join(folder, 'bundles'), store: join(folder, 'store'), port: '0' };
  const script = `
    import Module, { register } from 'node:module';
    const forbidden = /tandem-offline|@tensorflow|@duckdb|vega/;
    register('data:text/javascript,' + encodeURIComponent(\`
      export async function resolve(specifier, context, next) {
        if (\${forbidden}.test(specifier)) throw new Error('forbidden module ' + specifier);
        return next(specifier, context);
      }\`));
    const { resolveServerSettings } = await import(${JSON.stringify(config)});
    const { startServer } = await import(${JSON.stringify(server)});
    const flags = ${JSON.stringify(flags)};
    const running = await startServer(resolveServerSettings({ flags }).settings);
    const response = await fetch('http://127.0.0.1:' + running.port + '/v1/candidates', {
      method: 'POST',
      body: '{"user":"a","surface":"related","k":3}',
      headers: { connection: 'close' },
    });
    const { candidates } = await response.json();
    await running.close();
    const loaded = Object.keys(Module._cache).filter((path) => forbidden.test(path));
    process.stdout.write(JSON.stringify({ candidates: candidates.length, loaded }));
    process.exit(0);
  `;
  const run = spawnSync(process.execPath, [...TYPESCRIPT, '--input-type=module', '-e', script], {
    encoding: 'utf8',
    timeout: 60_000,
  });
  assert.equal(run.status, 0, run.stderr);
  assert.deepEqual(JSON.parse(run.stdout), { candidates: 3, loaded: [] });
});
