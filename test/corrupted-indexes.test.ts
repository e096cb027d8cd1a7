// Loads thousands of damaged indexes. A server checks the bundle's digest first, which rejects
// every one. Without that check the native loader must reject each of them, or load it harmlessly
// where a format without checksum has only changed values. It must never crash or hang.

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
import { FORM } from './support/form.ts';
import { FORMAT_SIZE, FORMAT_WIDTH, INDEX_FORMATS } from './support/index-formats.ts';
import { publishTinyBundle } from './support/tiny-bundle.ts';
import { TYPESCRIPT } from './support/typescript.ts';

const COUNT = { quick: 1000, long: 10_000 }[FORM];
const SEED = 2026;
/** The loader hangs when it takes longer than this; loading an index takes a millisecond. */
const HANG_MS = 30_000;
/**
 * How many damaged files a whole load reads; the others run only the digest check, where a load
 * stops.
 */
const WHOLE_LOADS = 100;

const folder = mkdtempSync(join(tmpdir(), 'tandem-damaged-'));
after(() => {
  rmSync(folder, { recursive: true });
});

for (const [name, format] of Object.entries(INDEX_FORMATS))
  describe(`${COUNT} damaged ${name} indexes`, () => {
    it('are rejected or harmless in the native loader', async () => {
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
      // Both outcomes must occur, or the damage is not of the intended kind.
      for (const [kind, { refused }] of Object.entries(summary))
        assert.ok(refused > 0, `${kind}: none was refused`);
      const loaded = sums.reduce((sum, kind) => sum + kind.loaded, 0);
      if (format.checked) assert.equal(loaded, 0);
      else assert.ok(loaded > 0, 'every damage was refused: none touched values alone');
    });
  });

it(`the digest of the bundle rejects ${COUNT} damaged index files`, async () => {
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

/** @returns the lines that the child wrote. Rejects when the child crashed or hung. */
function loadInChild(name: string, file: string): Promise<string[]> {
  const script = fileURLToPath(new URL('support/load-damaged.ts', import.meta.url));
  const child = spawn(
    process.execPath,
    [...TYPESCRIPT, script, name, file, String(SEED), String(COUNT)],
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
      const end = hung ? 'hung' : `ended with ${signal ?? `code ${String(code)}`}`;
      if (code === 0) resolve(lines);
      else
        reject(
          new Error(
            `Expected every damage of seed ${SEED} to be rejected or harmless, ` +
              `but the loader ${end} at number ${lines.at(-1) ?? '-'}: ${complaints}`,
          ),
        );
    });
  });
}
