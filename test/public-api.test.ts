// The public API: its types are complete and documented, a user's program compiles against the
// compiled package, and the examples run.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { promisify } from 'node:util';
import ts from 'typescript';
import { packageRoot } from '../src/package-root.ts';
import { readPublicApi } from '../tools/public-api.ts';

const run = promisify(execFile);
const api = readPublicApi();
const folder = mkdtempSync(join(tmpdir(), 'tandem-api-'));
after(() => {
  rmSync(folder, { recursive: true });
});

/** Types of the language and of Node that declarations may lean on. */
const GLOBAL_TYPES = new Set([
  'Error',
  'Omit',
  'Partial',
  'Pick',
  'Promise',
  'Readonly',
  'Record',
  'Float32Array',
  'Float64Array',
  'Int32Array',
]);
/** The codes of errors are a table, which docs/reference/errors.md lists. */
const TABLES = new Set(['typeof ERROR_TABLE']);

describe('the declarations of the public API', () => {
  const names = new Set(api.map(({ name }) => name));

  it('name only types that are exported, too', () => {
    const missing = api.flatMap(({ name, references }) =>
      references
        .filter((type) => !names.has(type) && !GLOBAL_TYPES.has(type) && !TABLES.has(type))
        .map((type) => `${name} leans on ${type}`),
    );
    assert.deepEqual(missing, []);
  });
  it('have doc comments', () => {
    const undocumented = api.filter(({ summary }) => summary === '').map(({ name }) => name);
    assert.deepEqual(undocumented, []);
  });
  it('say what functions throw', () => {
    const silent = api
      .filter(({ kind, declaration }) => kind === 'function' && !/@throws/.test(declaration))
      .map(({ name }) => name);
    assert.deepEqual(silent, []);
  });
});

describe('a program that uses the public API', () => {
  const consumer = readFileSync(join(packageRoot(), 'test/support/api-consumer.ts'), 'utf8');

  it('uses every export', () => {
    const used = /^import \{(.*?)\} from '\.\.\/\.\.\/src\/index\.ts';$/ms.exec(consumer)![1]!;
    assert.deepEqual(
      used
        .split(',')
        .map((name) => name.replace('type ', '').trim())
        .filter((name) => name !== '')
        .sort(),
      api.map(({ name }) => name).sort(),
    );
  });

  it('compiles against the package, with libraries checked and without the offline part', () => {
    const modules = join(folder, 'node_modules');
    mkdirSync(join(modules, '@types'), { recursive: true });
    symlinkSync(packageRoot(), join(modules, 'tandem'));
    for (const types of ['@types/node', 'undici-types'])
      cpSync(join(packageRoot(), 'node_modules', types), join(modules, types), {
        recursive: true,
        dereference: true,
      });
    writeFileSync(join(folder, 'package.json'), '{"type":"module"}');
    const file = join(folder, 'consumer.ts');
    writeFileSync(file, consumer.replace("'../../src/index.ts'", "'tandem'"));
    const program = ts.createProgram([file], {
      target: ts.ScriptTarget.ES2023,
      module: ts.ModuleKind.NodeNext,
      moduleResolution: ts.ModuleResolutionKind.NodeNext,
      types: ['node'],
      typeRoots: [join(modules, '@types')],
      strict: true,
      exactOptionalPropertyTypes: true,
      noUncheckedIndexedAccess: true,
      noEmit: true,
      skipLibCheck: false,
    });
    const problems = ts
      .getPreEmitDiagnostics(program)
      .map(
        ({ file: at, messageText }) =>
          `${at?.fileName ?? ''}: ${ts.flattenDiagnosticMessageText(messageText, '\n')}`,
      );
    assert.deepEqual(problems, []);
    const offline = /@tensorflow|duckdb|\/vega|tandem-offline|packages\/offline/;
    assert.deepEqual(
      program
        .getSourceFiles()
        .map(({ fileName }) => fileName)
        .filter((name) => offline.test(name.replace(packageRoot(), ''))),
      [],
    );
  });
});

describe('the examples', () => {
  it('embed.mjs asks in process, where the offline packages cannot be loaded', async () => {
    const hook = `export function resolve(specifier, context, next) {
      if (/^(tandem-offline|@tensorflow|@duckdb|vega)/.test(specifier))
        throw new Error('refused: ' + specifier);
      return next(specifier, context);
    }`;
    const refuse = join(folder, 'refuse-offline.mjs');
    writeFileSync(
      refuse,
      `import { register } from 'node:module';
      register('data:text/javascript,' + encodeURIComponent(${JSON.stringify(hook)}));`,
    );
    const { stdout } = await run(process.execPath, [
      ...['--import', refuse],
      join(packageRoot(), 'examples', 'embed.mjs'),
    ]);
    const [search, related, embedding, error] = lines(stdout);
    assert.equal((search!['candidates'] as unknown[]).length, 3);
    assert.equal(search!['state'], 'missing');
    assert.equal(related!['plan'], 'popular');
    assert.equal(embedding!['width'], 16);
    assert.equal(error!['error'], 'ERR_UNKNOWN_ITEM');
  });

  it('embed-jobs.mjs runs every job', async () => {
    const { stdout, stderr } = await run(process.execPath, [
      join(packageRoot(), 'examples', 'embed-jobs.mjs'),
      join(folder, 'jobs'),
    ]);
    const [result] = lines(stdout);
    assert.equal(result!['passed'], true);
    assert.equal(result!['encoded'], 60);
    assert.equal(result!['state'], 'fresh');
    assert.equal((result!['candidates'] as unknown[]).length, 5);
    // The listener gets the progress of all jobs; nothing else is printed.
    for (const job of ['world users', 'train concat', 'evaluate', 'build index', 'encode users'])
      assert.match(stderr, new RegExp(`^${job}: \\d+ `, 'm'));
    assert.doesNotMatch(stderr, /progress/);
  });
});

function lines(text: string): Record<string, unknown>[] {
  return text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}
