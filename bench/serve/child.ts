// Starts the processes of the serve benchmark, pins them to cores, and stops them.

import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { LoadOrder, LoadOutcome, Question, SaturationOrder } from './load.ts';

export interface Child {
  /** The port of a server; 0 for the generator. */
  readonly port: number;
  readonly stop: () => Promise<void>;
}

export interface Generator extends Child {
  /** Runs one load and waits for its outcome. Only one load runs at a time. */
  readonly load: (order: LoadOrder) => Promise<LoadOutcome>;
  /** Runs one load of clients that never wait. @returns good answers a second. */
  readonly saturate: (saturation: SaturationOrder) => Promise<number>;
}

/** Returns two cores that this process may use; undefined without taskset or with one core only. */
export function freeCores(): readonly [number, number] | undefined {
  if (process.platform !== 'linux' || spawnSync('taskset', ['--version']).status !== 0)
    return undefined;
  const status = readFileSync('/proc/self/status', 'utf8');
  const list = /^Cpus_allowed_list:\s*(.+)$/m.exec(status)?.[1] ?? '';
  const cores = list.split(',').flatMap((range) => {
    const [first, last = first] = range.split('-').map(Number);
    return Array.from({ length: last! - first! + 1 }, (_, i) => first! + i);
  });
  return cores.length < 2 ? undefined : [cores[0]!, cores[1]!];
}

/** Starts node with `parameters` and resolves when it writes a line of JSON with its port. */
export function startServer(
  parameters: readonly string[],
  core: number | undefined,
): Promise<Child> {
  const child = start(parameters, core, ['ignore', 'ignore', 'pipe']);
  return new Promise((resolve, reject) => {
    const seen: string[] = [];
    createInterface({ input: child.stderr! }).on('line', (line) => {
      seen.push(line);
      const record = line.startsWith('{') ? (JSON.parse(line) as { port?: unknown }) : {};
      if (typeof record.port === 'number') resolve({ port: record.port, stop: () => stop(child) });
    });
    child.once('exit', (code) => {
      reject(
        new Error(
          `Expected a server to start, but it ended with code ${String(code)}:\n${seen.join('\n')}`,
        ),
      );
    });
  });
}

export function startGenerator(
  questions: readonly Question[],
  core: number | undefined,
): Generator {
  const file = join(import.meta.dirname, 'generator.ts');
  const child = start(['--import', 'tsx', file], core, ['ignore', 'inherit', 'inherit', 'ipc']);
  child.send({ questions });
  const ask = <Outcome extends object | number>(message: object): Promise<Outcome> =>
    new Promise((resolve, reject) => {
      const onExit = (code: number | null): void => {
        reject(
          new Error(
            `Expected the load generator to answer, but it ended with code ${String(code)}.`,
          ),
        );
      };
      child.once('exit', onExit);
      child.once('message', (outcome) => {
        child.off('exit', onExit);
        resolve(outcome as Outcome);
      });
      child.send(message);
    });
  return {
    port: 0,
    stop: () => stop(child),
    load: (order) => ask({ order }),
    saturate: (saturation) => ask({ saturation }),
  };
}

function start(
  parameters: readonly string[],
  core: number | undefined,
  stdio: ('ignore' | 'pipe' | 'inherit' | 'ipc')[],
): ChildProcess {
  const command = [process.execPath, ...parameters];
  const pinned = core === undefined ? command : ['taskset', '-c', String(core), ...command];
  const env = { ...process.env, TANDEM_LOG_LEVEL: 'info' };
  return spawn(pinned[0]!, pinned.slice(1), { stdio, env });
}

function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return Promise.resolve();
  return new Promise((resolve) => {
    child.once('exit', () => {
      resolve();
    });
    child.kill('SIGTERM');
  });
}
