// Chooses the Python interpreter of the peers and starts peers that are written in Python.

import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { packageRoot } from '../../src/package-root.ts';
import { PeerProcess, type PeerOptions } from './process.ts';

/** The folder into which `npm run bench:peers` installs the Python packages. */
export const VENV: string = join('bench', 'peers', 'venv');

/**
 * Returns TANDEM_BENCH_PYTHON, else the interpreter of the venv; undefined where there is neither.
 */
export function benchPython(): string | undefined {
  const given = process.env['TANDEM_BENCH_PYTHON'];
  if (given !== undefined && given !== '') return given;
  const folder = join(packageRoot(), VENV);
  return [join(folder, 'bin', 'python3'), join(folder, 'Scripts', 'python.exe')].find((path) =>
    existsSync(path),
  );
}

/** Returns the interpreter if it can import the modules, else a reason that names the remedy. */
export function pythonWith(modules: readonly string[]): { python: string } | { without: string } {
  const remedy = 'run "npm run bench:peers", or set TANDEM_BENCH_PYTHON';
  const python = benchPython();
  if (python === undefined) return { without: `no Python environment in ${VENV}: ${remedy}` };
  const probe = spawnSync(python, ['-c', `import ${modules.join(', ')}`], { encoding: 'utf8' });
  if (probe.error !== undefined) return { without: `${python} does not start: ${remedy}` };
  if (probe.status === 0) return { python };
  const reason = probe.stderr.trim().split('\n').at(-1) ?? '';
  return { without: `${python} does not import ${modules.join(', ')} (${reason}): ${remedy}` };
}

/**
 * Starts bench/peers/<script>.
 *
 * @param modules - names of the modules that the script imports.
 * @returns the peer, or the reason why it cannot start.
 */
export function startPython(
  script: string,
  modules: readonly string[],
  options: PeerOptions = {},
): PeerProcess | string {
  const found = pythonWith(modules);
  if ('without' in found) return found.without;
  const file = join(packageRoot(), 'bench', 'peers', script);
  return new PeerProcess(script, [found.python, file], options);
}
