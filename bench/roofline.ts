// Records how fast this machine is at best; every other number is compared with it.
// bench/native/roofline.cpp measures it.

import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { packageRoot } from '../src/package-root.ts';
import { say, summarise, type Recorder } from './harness.ts';

interface Line {
  readonly what: string;
  readonly isa: string;
  readonly threads: number;
  readonly value: number;
  readonly unit: string;
}

export function run(recorder: Recorder): Promise<void> {
  const program = buildProgram();
  if (program !== undefined)
    for (const { what, isa, threads, value, unit } of measure(program))
      recorder.add(
        `${what}${isa === 'any' ? '' : `, ${isa}`}, ${threads} thread${threads === 1 ? '' : 's'}`,
        { metric: 'rate', unit, better: 'higher' },
        summarise([value]),
      );
  return Promise.resolve();
}

/** @returns the program's path; undefined, with a message, where CMake or a compiler is missing. */
function buildProgram(): string | undefined {
  const build = join('build', 'bench');
  for (const parameters of [
    ['-S', join('bench', 'native'), '-B', build],
    ['--build', build, '--config', 'Release'],
  ]) {
    const { error, status, stderr } = spawnSync('cmake', parameters, {
      cwd: packageRoot(),
      encoding: 'utf8',
    });
    if (error === undefined && status === 0) continue;
    say(`roofline: left out, cmake ${parameters[0]!} failed: ${error?.message ?? stderr.trim()}`);
    return undefined;
  }
  return join(packageRoot(), build, 'roofline');
}

function measure(program: string): Line[] {
  const { status, stdout, error } = spawnSync(program, { encoding: 'utf8' });
  if (status !== 0)
    throw new Error(
      `Expected ${program} to run, received ${error?.message ?? `code ${String(status)}`}.`,
    );
  return JSON.parse(stdout) as Line[];
}
