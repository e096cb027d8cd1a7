// The layout check of `npm run lint`, run over small folders that break one rule each.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, describe, it } from 'node:test';

const TOOL = join(import.meta.dirname, '..', 'tools', 'check-layout.mjs');
const work = mkdtempSync(join(tmpdir(), 'tandem-layout-'));
let trees = 0;
after(() => {
  rmSync(work, { recursive: true });
});

/** Writes the files into a new folder and checks it. */
function check(files: Readonly<Record<string, string>>): { code: number | null; found: string[] } {
  const root = join(work, String(++trees));
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, name)), { recursive: true });
    writeFileSync(join(root, name), text);
  }
  const { status, stderr } = spawnSync(process.execPath, [TOOL, root], { encoding: 'utf8' });
  return { code: status, found: stderr.split('\n').filter((line) => line !== '') };
}

function filesIn(folder: string, count: number): Record<string, string> {
  return Object.fromEntries(Array.from({ length: count }, (_, i) => [`${folder}/f${i}.ts`, '']));
}

const LONG = 'x'.repeat(101);

describe('the layout check', () => {
  it('accepts a tree that keeps every rule, and folders that do not exist', () => {
    const files = { ...filesIn('src/room', 25), ...filesIn('src/room/wing', 25) };
    assert.deepEqual(check(files), { code: 0, found: [] });
    assert.deepEqual(check({ 'README.md': LONG }), { code: 0, found: [] });
  });

  it('rejects a folder with more than 25 source files and names the folder', () => {
    const { code, found } = check({ ...filesIn('src/room', 26), 'src/room/notes.md': '' });
    assert.equal(code, 1);
    assert.match(found[0]!, /^src\/room: expected at most 25 source files .* found 26\. Move/);
    assert.equal(found.length, 2);
  });

  it('counts files of src and native only', () => {
    assert.equal(check(filesIn('test', 26)).code, 0);
    assert.equal(check(filesIn('native/core', 26)).code, 1);
  });

  it('rejects a line of 101 columns and names its file and line', () => {
    const { code, found } = check({ 'tools/tool.mjs': `const a = 1;\n// ${LONG.slice(3)}\n` });
    assert.equal(code, 1);
    assert.match(found[0]!, /^tools\/tool\.mjs:2: expected at most 100 columns, found 101\. Break/);
  });

  it('counts characters, not bytes', () => {
    assert.equal(check({ 'src/a.ts': `// ${'ü'.repeat(97)}\n` }).code, 0);
    assert.equal(check({ 'src/a.ts': `// ${'ü'.repeat(98)}\n` }).code, 1);
  });

  it('measures every language of the repository, and CMakeLists.txt', () => {
    for (const name of ['src/a.ts', 'native/a.h', 'bench/a.py', 'deploy/a.sh', 'native/a.cmake'])
      assert.equal(check({ [name]: LONG }).code, 1, name);
    assert.equal(check({ 'bench/native/CMakeLists.txt': LONG }).code, 1);
    assert.equal(check({ 'models/tiny/goldens.json': LONG }).code, 0);
  });

  it('allows a line that only a URL makes too long', () => {
    const url = `https://example.com/${'a'.repeat(100)}`;
    assert.equal(check({ 'src/a.ts': `// See ${url} for why.\n` }).code, 0);
    assert.equal(check({ 'src/a.ts': `// ${url} ${LONG}\n` }).code, 1);
  });

  it('leaves out the folders that other tools fill', () => {
    assert.equal(check({ 'bench/cache/a.ts': LONG, 'bench/peers/venv/a.py': LONG }).code, 0);
  });

  it('rejects two JSDoc tags in one line, in a block of one line or of many', () => {
    for (const text of [
      '/** @param a - one. @returns two. */\n',
      '/**\n * @param a - one. @returns two.\n */\n',
    ]) {
      const { code, found } = check({ 'src/a.ts': text });
      assert.equal(code, 1);
      assert.match(found[0]!, /^src\/a\.ts:\d: expected one JSDoc tag in a line, found 2\. Put/);
    }
  });

  it('accepts one JSDoc tag a line, and tags that are text or code', () => {
    const block = '/**\n * @param a - one.\n * @returns two, as `@returns` says.\n */\n';
    assert.equal(check({ 'src/a.ts': block }).code, 0);
    assert.equal(check({ 'src/a.ts': "const text = '@param a @returns b';\n" }).code, 0);
  });
});
