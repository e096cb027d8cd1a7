// Decides which C++ files have the repository's format (native/ and bench/native/), and checks or
// formats them with the clang-format of the package clang-format-node. The style is in
// .clang-format. Usage: node tools/clang-format.mjs [--check | --write]
import { spawnSync } from 'node:child_process';
import {
  accessSync,
  chmodSync,
  constants,
  copyFileSync,
  mkdtempSync,
  readdirSync,
  rmSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const mode = process.argv[2] ?? '--check';
if (mode !== '--check' && mode !== '--write') {
  console.error(`Expected --check or --write, received "${mode}".`);
  process.exit(1);
}

const require = createRequire(import.meta.url);
const { clangFormatPath } = require('clang-format-node');
const root = join(import.meta.dirname, '..');
const files = ['native', join('bench', 'native')]
  .flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' }).map((name) =>
      join(folder, name),
    ),
  )
  .filter((name) => /\.(cpp|h)$/.test(name))
  .sort();

let binary = clangFormatPath;
let copied;
try {
  accessSync(binary, constants.X_OK);
} catch {
  // A postinstall script of the package makes its binaries executable. Where install scripts are
  // off, do it here.
  try {
    chmodSync(binary, 0o755);
  } catch {
    copied = mkdtempSync(join(tmpdir(), 'clang-format-'));
    binary = join(copied, 'clang-format');
    copyFileSync(clangFormatPath, binary);
    chmodSync(binary, 0o755);
  }
}
const run = spawnSync(
  binary,
  [...(mode === '--write' ? ['-i'] : ['--dry-run', '-Werror']), ...files],
  {
    cwd: root,
    stdio: 'inherit',
  },
);
if (copied !== undefined) rmSync(copied, { recursive: true });
if (run.error) throw run.error;
if (run.status !== 0) console.error('Run "npm run format" to format native/.');
process.exit(run.status ?? 1);
