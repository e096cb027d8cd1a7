// npm run bench:peers: installs the peers of the benchmarks into this folder. It names each peer
// that cannot be installed; the benchmarks then run without it.

import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { packageRoot } from '../../src/package-root.ts';
import { benchPython, VENV } from './python.ts';

const FOLDER = join(packageRoot(), 'bench', 'peers');
/** With these options an unreachable registry costs a minute, not ten. */
const PIP = ['-m', 'pip', '--disable-pip-version-check', '--timeout', '20', '--retries', '1'];
const PIP_LIMIT_MS = 20 * 60_000;
const OLDEST_PYTHON = '3.9';

function main(): void {
  const missing = [...installNode(), ...installPython()];
  process.stdout.write(
    missing.length === 0
      ? 'All peers are installed.\n'
      : `Not installed:\n${missing.map((line) => `- ${line}\n`).join('')}` +
          'The benchmarks run without these.\n',
  );
}

/** @returns the packages that could not be installed, with the reason. */
function installNode(): string[] {
  // Install scripts stay off, because the one of onnxruntime-node would download CUDA libraries.
  // The next call compiles hnswlib-node.
  const installed = run('npm', ['ci', '--prefix', FOLDER, '--ignore-scripts']);
  if (installed !== undefined) return [`onnxruntime-node and hnswlib-node: npm ci ${installed}`];
  const built = run('npm', [
    'rebuild',
    'hnswlib-node',
    '--prefix',
    FOLDER,
    '--ignore-scripts=false',
    '--foreground-scripts',
  ]);
  return built === undefined
    ? []
    : [`hnswlib-node: npm rebuild ${built} (it needs Python 3 and a C++ compiler for node-gyp)`];
}

/** Installs one package at a time, so that one failure does not prevent the others. */
function installPython(): string[] {
  const wanted = readFileSync(join(FOLDER, 'requirements.txt'), 'utf8').trim().split('\n');
  if ((process.env['TANDEM_BENCH_PYTHON'] ?? '') !== '') {
    process.stdout.write('TANDEM_BENCH_PYTHON is set: that interpreter is used as it is.\n');
    return [];
  }
  if (benchPython() === undefined) {
    const made = run('python3', ['-m', 'venv', join(packageRoot(), VENV)]);
    if (made !== undefined)
      return [
        `${wanted.join(', ')}: python3 -m venv ${made} ` +
          `(it needs Python ${OLDEST_PYTHON} or later with venv and pip)`,
      ];
  }
  const python = benchPython()!;
  return wanted.flatMap((name) => {
    const installed = run(python, [...PIP, 'install', '--prefer-binary', name]);
    return installed === undefined ? [] : [`${name}: pip install ${installed}`];
  });
}

/** @returns undefined on success, else how the command ended. */
function run(command: string, parameters: readonly string[]): string | undefined {
  process.stdout.write(`> ${command} ${parameters.join(' ')}\n`);
  const { error, status, signal } = spawnSync(command, parameters, {
    stdio: 'inherit',
    cwd: packageRoot(),
    timeout: PIP_LIMIT_MS,
  });
  if (error !== undefined) return `did not run: ${error.message}`;
  return status === 0 ? undefined : `ended with ${signal ?? `code ${String(status)}`}`;
}

main();
