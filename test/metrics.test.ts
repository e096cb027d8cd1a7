// /metrics of a real server follows the conventions of Prometheus. promtool checks them where it is
// installed; the most important rule is checked here. The dashboard uses no metric that does not
// exist.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { resolveServerSettings } from '../src/config.ts';
import { packageRoot } from '../src/package-root.ts';
import { startServer } from '../src/serve/process/server.ts';
import { LmdbStore } from '../src/store/lmdb-store.ts';

const folder = mkdtempSync(join(tmpdir(), 'tandem-metrics-'));
const hasPromtool = spawnSync('promtool', ['--version']).error === undefined;
const texts: string[] = [];

before(async () => {
  const store = join(folder, 'store');
  await LmdbStore.open(store).close();
  for (const eventLoops of [1, 2]) {
    const bundles = join(packageRoot(), 'models', 'tiny');
    const { settings } = resolveServerSettings({
      flags: { bundles, store, port: 0, eventLoops },
    });
    const server = await startServer(settings);
    const base = `http://127.0.0.1:${server.port}`;
    for (const body of [{ user: 'u', surface: 'related', filter: { min_price: 1 } }, {}])
      await fetch(`${base}/v1/candidates`, { method: 'POST', body: JSON.stringify(body) });
    texts.push(await (await fetch(`${base}/metrics`)).text());
    await server.close();
  }
});
after(() => {
  rmSync(folder, { recursive: true });
});

describe('metrics', () => {
  it('have names that end in _total if and only if they are counters', () => {
    for (const text of texts)
      for (const [, name, type] of text.matchAll(/^# TYPE (\S+) (\S+)$/gm)) {
        assert.equal(name!.endsWith('_total'), type === 'counter', name);
        assert.doesNotMatch(name!, /_(ms|milliseconds|percent)\b/);
      }
  });

  it('are those of docs/reference/metrics.md, with their types and labels', () => {
    const page = readFileSync(join(packageRoot(), 'docs', 'reference', 'metrics.md'), 'utf8');
    const rows = [...page.matchAll(/^\| `(tandem_\w+)` +\| (\w+) +\|([^|]*)\|/gm)];
    const documented = new Map(rows.map(([, name, type]) => [name, type]));
    for (const text of texts) {
      const types = [...text.matchAll(/^# TYPE (tandem_\w+) (\w+)$/gm)];
      assert.deepEqual(new Map(types.map(([, name, type]) => [name, type])), documented);
      for (const [, name, , labels] of rows)
        for (const [, shown] of text.matchAll(new RegExp(`^${name!}(?:_bucket)?\\{(.*)\\}`, 'gm')))
          for (const [, label] of shown!.matchAll(/(\w+)="/g))
            assert.ok(label === 'le' || labels!.includes(`\`${label!}\``), `${name!}: ${label!}`);
    }
  });

  it(
    'pass the checks of promtool',
    { skip: hasPromtool ? false : 'promtool is not installed' },
    () => {
      for (const input of texts) {
        const { status, stdout, stderr } = spawnSync('promtool', ['check', 'metrics'], {
          input,
          encoding: 'utf8',
        });
        assert.equal(status, 0, stdout + stderr);
      }
    },
  );

  it('include every metric that the dashboard uses', () => {
    const path = join(packageRoot(), 'deploy', 'grafana', 'dashboard.json');
    const dashboard = readFileSync(path, 'utf8');
    const { panels } = JSON.parse(dashboard) as {
      panels: { title: string; targets?: { expr: string }[] }[];
    };
    const families = new Set(
      [...texts[0]!.matchAll(/^# TYPE (\S+) (\S+)$/gm)].flatMap(([, name, type]) =>
        type === 'histogram'
          ? ['_bucket', '_sum', '_count'].map((suffix) => name! + suffix)
          : [name!],
      ),
    );
    const asked = panels.flatMap(({ targets = [] }) =>
      targets.flatMap(({ expr }) => expr.match(/\b(?:tandem|nodejs|process)_\w+/g) ?? []),
    );
    assert.ok(asked.length >= panels.length - 1);
    for (const name of asked) assert.ok(families.has(name), name);
  });
});
