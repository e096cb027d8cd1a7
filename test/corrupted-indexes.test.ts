// Ten thousand damaged indexes. On a server's way in, through the bundle's digest, every one is refused. Past the digest,
// straight into the native loader, each is refused or, where a format without checksum had only values changed, harmless:
// never a crash, never a hang.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { readBundleFiles, readManifest } from '../src/bundle/files.ts';
import { loadBundle } from '../src/bundle/load.ts';
import { BUNDLE_FILES } from '../src/bundle/manifest.ts';
import { damage } from './support/corruption.ts';
import { FORMAT_SIZE, FORMAT_WIDTH, INDEX_FORMATS } from './support/index-formats.ts';
import { publishTinyBundle } from './support/tiny-bundle.ts';

const COUNT = 10_000;
const SEED = 2026;
/** Loading one takes a millisecond. */
const HANG_MS = 30_000;
/** Whole loads among the digest checks, which are all that damage ever reaches. */
const WHOLE_LOADS = 100;

const folder = mkdtempSync(join(tmpdir(), 'tandem-damaged-'));
after(() => {
  rmSync(folder, { recursive: true });
});

for (const [name, format] of Object.entries(INDEX_FORMATS))
  describe(`${COUNT} damaged ${name} indexes`, () => {
    it('are refused or harmless in the native loader', async () => {
      const file = join(folder, `${name}.index`);
      writeFileSync(file, await format.make());
      const lines = await loadInChild(name, file);
      const summary = JSON.parse(lines.at(-1)!) as Record<
        string,
        { refused: number; loaded: number }
      >;
      const sums = Object.values(summary);
      assert.equal(
        sums.reduce((sum, { refused, loaded }) => sum + refused + loaded, 0),
        COUNT,
      );
      // Both ways must be taken, or the damage is not what it says.
      for (const [kind, { refused }] of Object.entries(summary))
        assert.ok(refused > 0, `${kind}: none was refused`);
      const loaded = sums.reduce((sum, kind) => sum + kind.loaded, 0);
      if (format.checked) assert.equal(loaded, 0);
      else assert.ok(loaded > 0, 'every damage was refused: none touched values alone');
    });
  });

it(`${COUNT} damaged index files are refused by the digest of their bundle`, async () => {
  const bundles = join(folder, 'bundles');
  const { directory } = await publishTinyBundle(bundles, {
    items: FORMAT_SIZE,
    width: FORMAT_WIDTH,
  });
  const path = join(directory, BUNDLE_FILES.index);
  const valid = new Uint8Array(readFileSync(path));
  const manifest = await readManifest(directory);
  const fields = INDEX_FORMATS['clusters']!.fields(valid);
  await loadBundle(directory);
  for (let n = 0; n < COUNT; n++) {
    const { kind, bytes } = damage(valid, fields, SEED, n);
    writeFileSync(path, bytes);
    await assert.rejects(
      n < WHOLE_LOADS ? loadBundle(directory) : readBundleFiles(directory, manifest),
      { code: 'ERR_BUNDLE_INVALID' },
      `${kind} ${n}`,
    );
  }
  writeFileSync(path, valid);
  await loadBundle(directory);
});

/** @returns what the child wrote, when it lived to the end. */
function loadInChild(name: string, file: string): Promise<string[]> {
  const script = fileURLToPath(new URL('support/load-damaged.ts', import.meta.url));
  const child = spawn(
    process.execPath,
    ['--import', 'tsx', script, name, file, String(SEED), String(COUNT)],
    { stdio: ['ignore', 'pipe', 'pipe'] },
  );
  const lines: string[] = [];
  let complaints = '';
  let hung = false;
  const kill = (): void => {
    hung = true;
    child.kill('SIGKILL');
  };
  let watch = setTimeout(kill, HANG_MS);
  createInterface({ input: child.stdout }).on('line', (line) => {
    lines.push(line);
    clearTimeout(watch);
    watch = setTimeout(kill, HANG_MS);
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => (complaints += text));
  return new Promise((resolve, reject) => {
    child.once('close', (code, signal) => {
      clearTimeout(watch);
      if (code === 0) resolve(lines);
      else
        reject(
          new Error(
            `Expected every damage of seed ${SEED} to be refused or harmless, but the loader ${hung ? 'hung' : `ended with ${signal ?? `code ${String(code)}`}`} at number ${lines.at(-1) ?? '-'}: ${complaints}`,
          ),
        );
    });
  });
}
