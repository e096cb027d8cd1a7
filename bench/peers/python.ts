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

/**
 * Starts bench/peers/<script> where a Python that has the modules is there.
 *
 * @param modules - as in `import`.
 * @returns the peer, or why there is none, in words that name the remedy.
 */
export function startPython(
  script: string,
  modules: readonly string[],
  options: PeerOptions = {},
): PeerProcess | string {
  const remedy = 'run "npm run bench:peers", or set TANDEM_BENCH_PYTHON';
  const python = benchPython();
  if (python === undefined) return `no Python environment in ${VENV}: ${remedy}`;
  const probe = spawnSync(python, ['-c', `import ${modules.join(', ')}`], { encoding: 'utf8' });
  if (probe.error !== undefined) return `${python} does not start: ${remedy}`;
  if (probe.status !== 0)
    return `${python} does not import ${modules.join(', ')} (${probe.stderr.trim().split('\n').at(-1) ?? ''}): ${remedy}`;
  return new PeerProcess(script, [python, join(packageRoot(), 'bench', 'peers', script)], options);
}
