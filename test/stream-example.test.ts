// Runs the WebSocket example against a server. Its candidates equal those of HTTP, and an unknown
// item gives an error.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { resolveServerSettings } from '../src/config.ts';
import { startServer } from '../src/serve/process/server.ts';
import { MemoryStore } from '../src/store/memory-store.ts';
import { publishTinyBundle, tinyItem } from './support/tiny-bundle.ts';

interface Line {
  readonly item: string;
  readonly candidates?: readonly { readonly item: string; readonly score: number }[];
  readonly error?: string;
}

/** Rounds scores to the six decimals of JSON; binary answers have all bits. */
function rounded(candidates: Line['candidates']): Line['candidates'] {
  return candidates?.map(({ item, score }) => ({ item, score: Math.round(score * 1e6) / 1e6 }));
}

test('the WebSocket example prints the answers of HTTP for each item', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'tandem-stream-'));
  await publishTinyBundle(folder, { items: 60 });
  const { settings } = resolveServerSettings({
    flags: { bundles: folder, store: join(folder, 'unused'), port: '0', transport: 'node' },
  });
  const server = await startServer(settings, new MemoryStore());
  try {
    const known = [tinyItem(3).id, tinyItem(8).id];
    for (const flags of [[], ['--binary', '--deltas']]) {
      const { stdout } = await promisify(execFile)(process.execPath, [
        ...['--import', 'tsx', 'examples/stream.ts', ...flags, `ws://127.0.0.1:${server.port}`],
        ...['u', ...known, 'nothing'],
      ]);
      const lines = stdout
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line) as Line);
      assert.equal(lines.length, 3);
      const lineOf = (item: string): Line | undefined => lines.find((line) => line.item === item);
      assert.equal(lineOf('nothing')!.error, 'ERR_UNKNOWN_ITEM');
      for (const item of known) {
        const response = await fetch(`http://127.0.0.1:${server.port}/v1/candidates`, {
          method: 'POST',
          body: JSON.stringify({ user: 'u', surface: 'related', subject: { item }, k: 3 }),
        });
        const { candidates } = (await response.json()) as Line;
        assert.deepEqual(rounded(lineOf(item)!.candidates), candidates);
      }
    }
  } finally {
    await server.close();
    rmSync(folder, { recursive: true });
  }
});
