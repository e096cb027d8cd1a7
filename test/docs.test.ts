// The pages of documentation: links lead to something that exists, tables stay narrow enough to
// read, and generated parts are up to date.

import assert from 'node:assert/strict';
import { existsSync, readFileSync, readdirSync, statSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { generatePages } from '../tools/generate-reference.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const MAX_CELL_CHARACTERS = 80;

/** Pages whose tables are not held to MAX_CELL_CHARACTERS, with the reason. */
const WIDE_TABLES: Readonly<Record<string, string>> = {
  'docs/results.md': 'generated: "tandem experiment" writes it from experiments/results/',
  'docs/benchmarks.md': 'generated: "npm run bench" writes it from its results',
};

const pages = [
  'README.md',
  'CHANGELOG.md',
  'CONTRIBUTING.md',
  'SECURITY.md',
  ...readdirSync(join(ROOT, 'docs'), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.md'))
    .map((name) => join('docs', name))
    .sort(),
];

/** Folders whose files name pages of documentation. */
const CODE_FOLDERS = ['bench', 'deploy', 'examples', 'models', 'native', 'src', 'test', 'tools'];
const CODE_FILE = /\.(ts|mjs|cpp|h|py|md|service|json)$/;

/** The lines of a page outside of code blocks. */
function proseOf(path: string): string[] {
  const text = readFileSync(join(ROOT, path), 'utf8');
  return text.replace(/^ *(```|~~~)[\s\S]*?^ *\1 *$/gm, '').split('\n');
}

/** Relative targets of links and images. */
function linksOf(path: string): string[] {
  const text = proseOf(path)
    .join('\n')
    .replaceAll(/`[^`]*`/g, '');
  return [...text.matchAll(/\]\(<?([^)\s>]+)>?(?:\s+"[^"]*")?\)/g)]
    .map(([, target]) => target!)
    .filter((target) => !/^[a-z][a-z+.-]*:/i.test(target));
}

/** Anchors as GitHub makes them of headings; a repeated heading gets a number. */
function anchorsOf(path: string): Set<string> {
  const anchors = new Set<string>();
  for (const line of proseOf(path)) {
    const heading = /^#{1,6} +(.*?) *#*$/.exec(line)?.[1];
    if (heading === undefined) continue;
    const base = heading
      .replaceAll(/\[([^\]]*)\]\([^)]*\)/g, '$1')
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N}\s_-]/gu, '')
      .replaceAll(/\s/g, '-');
    let anchor = base;
    for (let n = 1; anchors.has(anchor); n++) anchor = `${base}-${n}`;
    anchors.add(anchor);
  }
  return anchors;
}

/** Why a link is broken; undefined when it is not. */
function brokenLink(page: string, link: string): string | undefined {
  const [file = '', anchor] = link.split('#');
  const target = file === '' ? page : relative(ROOT, resolve(ROOT, dirname(page), file));
  if (!existsSync(join(ROOT, target))) return `${link}: there is no ${target}`;
  if (anchor === undefined || statSync(join(ROOT, target)).isDirectory()) return undefined;
  if (!target.endsWith('.md') || anchorsOf(target).has(anchor)) return undefined;
  return `${link}: ${target} has no heading with the anchor #${anchor}`;
}

/** Cells of tables with more than MAX_CELL_CHARACTERS, without the targets of their links. */
function wideCells(path: string): string[] {
  return proseOf(path)
    .filter((line) => line.startsWith('|'))
    .flatMap((line) => line.slice(1).split(/(?<!\\)\|/))
    .map((cell) => cell.trim().replaceAll(/\]\([^)]*\)/g, ']'))
    .filter((cell) => cell.length > MAX_CELL_CHARACTERS && !/^:?-+:?$/.test(cell));
}

/** Pages that a file of code names although they do not exist. */
function missingPages(path: string): string[] {
  const text = readFileSync(join(ROOT, path), 'utf8');
  return [...text.matchAll(/\bdocs\/[\w/-]+\.md\b/g)]
    .map(([page]) => page)
    .filter((page) => !existsSync(join(ROOT, page)))
    .map((page) => `${path} names ${page}`);
}

describe('documentation', () => {
  it('has the commands and settings of the code; "npm run docs" writes them', async () => {
    for (const { path, found, wanted } of await generatePages())
      assert.equal(found, wanted, `${relative(ROOT, path)} is out of date. Run "npm run docs".`);
  });
  it('exists where comments and messages of the code say', () => {
    const files = CODE_FOLDERS.flatMap((folder) =>
      readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' })
        .filter((name) => CODE_FILE.test(name) && !/(node_modules|cache|venv)\//.test(name))
        .map((name) => join(folder, name)),
    );
    assert.deepEqual(files.flatMap(missingPages), []);
  });

  for (const page of pages) {
    it(`${page}: every relative link leads to a file and a heading`, () => {
      const broken = linksOf(page)
        .map((link) => brokenLink(page, link))
        .filter((reason) => reason !== undefined);
      assert.deepEqual(broken, []);
    });
    it(`${page}: cells of tables are short`, { skip: WIDE_TABLES[page] ?? false }, () => {
      assert.deepEqual(wideCells(page), []);
    });
  }
});
