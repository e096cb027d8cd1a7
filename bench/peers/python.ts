// Which Python runs the peers that are written in it, and how one is started.

import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { packageRoot } from '../../src/native/binding.ts';
import { PeerProcess, type PeerOptions } from './process.ts';

/** Where `npm run bench:peers` installs the Python packages. */
export const VENV: string = join('bench', 'peers', 'venv');

/** TANDEM_BENCH_PYTHON, else the venv's interpreter where it is there. */
export function benchPython(): string | undefined {
  const given = process.env['TANDEM_BENCH_PYTHON'];
  if (given !== undefined && given !== '') return given;
  const folder = join(packageRoot(), VENV);
  return [join(folder, 'bin', 'python3'), join(folder, 'Scripts', 'python.exe')].find((path) =>
    existsSync(path),
  );
}

/** The interpreter, where it imports the modules; else why not, in words that name the remedy. */
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
 * Starts bench/peers/<script> where a Python that has the modules is there.
 *
 * @param modules - as in `import`.
 * @returns the peer, or why there is none.
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
