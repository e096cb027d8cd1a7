import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { describeSetting, nearestVariable, resolveServerSettings } from './config.ts';
import { TandemError } from './errors.ts';

const folder = mkdtempSync(join(tmpdir(), 'tandem-config-'));
after(() => {
  rmSync(folder, { recursive: true });
});
const required = { bundles: 'b', store: 's' };

function refuses(pattern: RegExp, sources: Parameters<typeof resolveServerSettings>[0]): void {
  assert.throws(
    () => resolveServerSettings(sources),
    (error) =>
      error instanceof TandemError &&
      error.code === 'ERR_CONFIG_INVALID' &&
      pattern.test(error.message),
  );
}

test('a flag beats a variable beats the file beats the default', () => {
  const file = join(folder, 'settings.json');
  writeFileSync(file, JSON.stringify({ host: 'file', port: 1, plan: 'exact' }));
  const { settings, origins } = resolveServerSettings({
    flags: { ...required, host: 'flag' },
    environment: { TANDEM_HOST: 'variable', TANDEM_PORT: '2', TANDEM_CONFIG: file },
  });
  assert.equal(settings.host, 'flag');
  assert.equal(settings.port, 2);
  assert.equal(settings.plan, 'exact');
  assert.equal(settings.maxMicroBatch, 64);
  assert.deepEqual(
    [origins.host, origins.port, origins.plan, origins.maxMicroBatch],
    ['flag', 'environment', 'file', 'default'],
  );
});

test('a wrong value names its setting and where it came from', () => {
  refuses(/valid port .* received "x" from flag/, { flags: { ...required, port: 'x' } });
  refuses(/from TANDEM_PORT/, {
    flags: required,
    environment: { TANDEM_PORT: 'tcp://10.0.0.1:80' },
  });
  refuses(/valid port/, { flags: { ...required, port: '' } });
  refuses(/valid port/, { flags: { ...required, port: '70000' } });
  refuses(/valid plan/, { flags: { ...required, plan: 'fast' } });
});

test('a missing value says how to give it', () => {
  refuses(/--store, TANDEM_STORE or "store"/, { flags: { bundles: 'b' } });
});

test('an unknown name is an error with the nearest known one', () => {
  refuses(/Did you mean "port"\?/, { flags: { ...required, prot: '1' } });
  const file = join(folder, 'unknown.json');
  writeFileSync(file, JSON.stringify({ maxQeue: 1 }));
  refuses(/Did you mean "maxQueue"\?/, { flags: required, file });
});

test('an unknown variable is reported, not refused', () => {
  const { unknownVariables } = resolveServerSettings({
    flags: required,
    environment: { TANDEM_HOTS: 'a', TANDEM_THREADS: '2', TANDEM_LOG_LEVEL: 'warn', HOME: '/' },
  });
  assert.deepEqual(unknownVariables, ['TANDEM_HOTS']);
  assert.equal(nearestVariable('TANDEM_HOTS'), 'TANDEM_HOST');
});

test('a file that is no object of settings is an error', () => {
  const file = join(folder, 'list.json');
  writeFileSync(file, '[]');
  refuses(/JSON object/, { flags: required, file });
  refuses(/JSON object/, { flags: required, file: join(folder, 'nowhere.json') });
});

test('a setting describes its values and its default', () => {
  assert.match(describeSetting('port'), /\(integer, 0 to 65535, default 8080\)$/);
  assert.match(describeSetting('maxQueue'), /\(integer, from 1, default 4096\)$/);
  assert.match(describeSetting('staleAfterHours'), /\(number, above 0, default 48\)$/);
  assert.match(describeSetting('plan'), /\(auto \| exact \| approximate, default auto\)$/);
  assert.match(describeSetting('adminPort'), /\(off; or integer, 0 to 65535, default off\)$/);
  assert.match(describeSetting('host'), /^address to listen on \(default 127\.0\.0\.1\)$/);
  assert.match(describeSetting('keys'), /answers everybody$/);
});
