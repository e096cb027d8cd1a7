// The files of deploy/ fit the program: their settings exist, their paths are built, their waits
// are long enough.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { resolveServerSettings } from '../src/config.ts';
import { packageRoot } from '../src/package-root.ts';
import { runCli } from './support/cli.ts';

const folder = mkdtempSync(join(tmpdir(), 'tandem-deploy-'));
const read = (...path: string[]): string =>
  readFileSync(join(packageRoot(), 'deploy', ...path), 'utf8');
after(() => {
  rmSync(folder, { recursive: true });
});

test('the Dockerfile copies files that exist and starts a command that exists', async () => {
  const dockerfile = read('Dockerfile');
  const sources = [...dockerfile.matchAll(/^COPY (?!--from)(.*) \S+$/gm)].flatMap(([, paths]) =>
    paths!.split(' '),
  );
  assert.ok(sources.length >= 4);
  for (const path of sources) assert.ok(existsSync(join(packageRoot(), path)), path);
  const [, entry] = /^ENTRYPOINT (.*)$/m.exec(dockerfile)!;
  assert.deepEqual(JSON.parse(entry!), [
    'node',
    // "npm run test:package" installs the package and runs this file.
    'node_modules/tandem/dist/cli/main.js',
    'supervise',
  ]);
  assert.equal((await runCli(['supervise', '--help'])).code, 0);
  const environment = Object.fromEntries(
    [...dockerfile.matchAll(/\b(TANDEM_\w+)=(\S+)/g)].map(([, name, value]) => [name!, value!]),
  );
  const flags = { bundles: 'b', store: 's' };
  const { unknownVariables } = resolveServerSettings({ flags, environment });
  assert.deepEqual(unknownVariables, []);
});

test('the Kubernetes manifest has valid settings and a stop timeout above the drain time', () => {
  const text = read('kubernetes', 'tandem.yaml');
  const indented = /server\.json: \|\n((?: {4}.*\n)+)/.exec(text)![1]!;
  const file = join(folder, 'server.json');
  writeFileSync(file, indented);
  const { settings } = resolveServerSettings({ file });
  const number = (name: string): number => Number(new RegExp(`${name}: (\\d+)`).exec(text)![1]);
  const [, pause] = /\['sleep', '(\d+)'\]/.exec(text)!;
  assert.ok(number('terminationGracePeriodSeconds') > settings.drainTimeoutSeconds + Number(pause));
  assert.equal(number('containerPort'), settings.port);
  // docs/guides/operate.md says what happens without it.
  assert.match(text, /enableServiceLinks: false/);
});

const hasSystemd = spawnSync('systemd-analyze', ['--version']).error === undefined;
test('the systemd unit has a stop timeout above the drain time', () => {
  const unit = read('systemd', 'tandem.service');
  const [, seconds] = /^TimeoutStopSec=(\d+)$/m.exec(unit)!;
  const { settings } = resolveServerSettings({ flags: { bundles: 'b', store: 's' } });
  assert.ok(Number(seconds) > settings.drainTimeoutSeconds);
  assert.match(unit, /^ExecStart=\S+node \S+dist\/cli\/main\.js supervise --config \S+$/m);
});

test('systemd accepts the unit', { skip: hasSystemd ? false : 'systemd is not installed' }, () => {
  const path = join(packageRoot(), 'deploy', 'systemd', 'tandem.service');
  const { stdout, stderr } = spawnSync('systemd-analyze', ['verify', path], { encoding: 'utf8' });
  // systemd also looks for the program, which is not installed here.
  const complaints = (stdout + stderr)
    .split('\n')
    .filter((line) => line.includes('tandem.service') && !/not executable|No such file/.test(line));
  assert.deepEqual(complaints, []);
});
