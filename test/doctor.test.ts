// Tests tandem doctor on this machine, which can serve, with valid and with invalid locations.

import assert from 'node:assert/strict';
import { cpSync, mkdtempSync, rmSync, truncateSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { Check } from '../src/cli/doctor-checks.ts';
import { packageRoot } from '../src/package-root.ts';
import { LmdbStore } from '../src/store/lmdb-store.ts';
import { runCli } from './support/cli.ts';

const folder = mkdtempSync(join(tmpdir(), 'tandem-doctor-'));
const bundle = join(packageRoot(), 'models', 'tiny');
after(() => {
  rmSync(folder, { recursive: true });
});

async function checksOf(
  places: readonly string[],
  env: Record<string, string> = {},
): Promise<{ code: number | null; of: (name: string) => Check }> {
  const { code, stdout } = await runCli(['doctor', '--json', ...places], { env });
  const checks = JSON.parse(stdout) as Check[];
  return { code, of: (name) => checks.find((check) => check.name === name)! };
}

test('doctor passes on a machine that can serve, and says why a backend is absent', async () => {
  const store = join(folder, 'store');
  await LmdbStore.open(store).close();
  const { code, of } = await checksOf(['--bundles', bundle, '--store', store]);
  assert.equal(code, 0);
  for (const name of ['node', 'addon', 'bundle', 'backend native', 'backend cpu'])
    assert.equal(of(name).status, 'ok', name);
  // The store opens, but it has no states.
  assert.equal(of('store').status, 'warning');
  assert.match(of('store').remedy!, /tandem encode users/);
  for (const name of ['tensorflow', 'webgpu']) {
    const { status, found } = of(`backend ${name}`);
    if (status === 'absent') assert.match(found, /^Expected .*\b(Run|Install|choose) /);
  }
});

test('doctor fails when something is missing, and names the remedy', async () => {
  const broken = join(folder, 'bundle');
  cpSync(bundle, broken, { recursive: true });
  truncateSync(join(broken, 'vectors.safetensors'), 100);
  const missing = join(folder, 'no', 'store');
  const { code, of } = await checksOf(['--bundles', broken, '--store', missing], {
    TANDEM_ISA: 'scalar',
  });
  assert.equal(code, 1);
  assert.equal(of('bundle').status, 'missing');
  assert.match(of('bundle').found, /vectors\.safetensors.*publish it again/s);
  assert.equal(of('store').status, 'missing');
  assert.equal(of('instruction set').status, 'warning');
  const text = await runCli(['doctor', '--bundles', broken]);
  assert.equal(text.code, 1);
  assert.match(text.stdout, /^MISSING {2}bundle .*\n.*Expected: a bundle at /m);
});
