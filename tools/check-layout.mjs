// Checks three rules that neither Prettier nor ESLint checks: folders have at most 25 source files,
// lines have at most 100 columns (Prettier leaves long comments and strings alone), and a line of a
// doc comment has at most one JSDoc tag. Usage: node tools/check-layout.mjs [ROOT]
import { readdirSync, readFileSync } from 'node:fs';
import { basename, extname, join } from 'node:path';

const MAX_FILES = 25;
const MAX_COLUMNS = 100;
/** Folders whose files are counted. Tests count: a reader has to look past them, too. */
const COUNTED = ['src', 'native'];
const COUNTED_FILES = new Set(['.ts', '.cpp', '.h', '.mm', '.hpp']);
/** Folders whose lines are measured. */
const MEASURED = ['src', 'native', 'test', 'bench', 'tools', 'examples', 'models', 'deploy'];
const MEASURED_FILES = new Set([
  '.ts',
  '.mjs',
  '.cjs',
  '.js',
  '.cpp',
  '.h',
  '.mm',
  '.hpp',
  '.py',
  '.sh',
  '.cmake',
]);
/** Folders that other tools fill: packages, environments, build outputs and cached data. */
const SKIPPED = new Set(['node_modules', 'venv', '__pycache__', 'build', 'dist', 'cache']);
const URL_PATTERN = /https?:\/\/\S+/g;
const TAG = /(?<![\w`{])@(param|returns?|throws|see|example|typeParam|deprecated|defaultValue)\b/g;

const root = process.argv[2] ?? join(import.meta.dirname, '..');
const findings = [
  ...COUNTED.flatMap((folder) => largeFolders(folder)),
  ...MEASURED.flatMap((folder) => filesBelow(folder))
    .filter(isMeasured)
    .flatMap((file) => badLines(file)),
];
for (const finding of findings) console.error(finding);
if (findings.length > 0) {
  console.error(`The layout check found ${findings.length} problem(s).`);
  process.exitCode = 1;
}

function largeFolders(folder) {
  const entries = entriesOf(folder);
  const count = entries.filter(
    (entry) => entry.isFile() && COUNTED_FILES.has(extname(entry.name)),
  ).length;
  const below = foldersOf(entries).flatMap((name) => largeFolders(`${folder}/${name}`));
  if (count <= MAX_FILES) return below;
  return [
    `${folder}: expected at most ${MAX_FILES} source files in one folder, found ${count}. ` +
      'Move files that belong together into a folder of their own.',
    ...below,
  ];
}

/** Paths of all files below a folder, relative to the root. */
function filesBelow(folder) {
  const entries = entriesOf(folder);
  return [
    ...entries.filter((entry) => entry.isFile()).map((entry) => `${folder}/${entry.name}`),
    ...foldersOf(entries).flatMap((name) => filesBelow(`${folder}/${name}`)),
  ];
}

function entriesOf(folder) {
  try {
    return readdirSync(join(root, folder), { withFileTypes: true }).sort((a, b) =>
      a.name < b.name ? -1 : 1,
    );
  } catch (error) {
    if (error.code === 'ENOENT') return [];
    throw error;
  }
}

function foldersOf(entries) {
  return entries
    .filter((entry) => entry.isDirectory() && !SKIPPED.has(entry.name))
    .map((entry) => entry.name);
}

function isMeasured(file) {
  return MEASURED_FILES.has(extname(file)) || basename(file) === 'CMakeLists.txt';
}

/**
 * Problems of single lines. A line may be too long if it is short enough without its URL, because a
 * URL cannot be broken.
 */
function badLines(file) {
  const lines = readFileSync(join(root, file), 'utf8').split('\n');
  const problems = [];
  let inBlock = false;
  for (const [i, line] of lines.entries()) {
    const at = `${file}:${i + 1}`;
    const columns = columnsOf(line);
    if (columns > MAX_COLUMNS && columnsOf(line.replace(URL_PATTERN, '')) > MAX_COLUMNS)
      problems.push(
        `${at}: expected at most ${MAX_COLUMNS} columns, found ${columns}. ` +
          'Break the comment; break a string with "+", a template string too.',
      );
    const opens = /^\s*\/\*\*/.test(line);
    const isComment = inBlock || opens || /^\s*\/\/\//.test(line);
    const tags = isComment ? [...line.matchAll(TAG)].length : 0;
    if (tags > 1)
      problems.push(`${at}: expected one JSDoc tag in a line, found ${tags}. Put each on its own.`);
    if (inBlock || opens) inBlock = !line.includes('*/');
  }
  return problems;
}

function columnsOf(line) {
  return [...line].length;
}
