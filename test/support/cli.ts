// Runs the built command line as its users do: `node dist/cli/main.js`, a new process for each
// call.

import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { packageRoot } from '../../src/package-root.ts';

const MAIN = join(packageRoot(), 'dist', 'cli', 'main.js');

export interface CliResult {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface CliOptions {
  readonly env?: Readonly<Record<string, string>>;
  /** Arguments of node, before the script. */
  readonly node?: readonly string[];
  /** The only core that it may use; needs taskset. */
  readonly core?: number | undefined;
  /** Sends SIGKILL this many milliseconds after the start. */
  readonly killAfterMs?: number;
}

/** Starts a command. */
export function spawnCli(args: readonly string[], options: CliOptions = {}): ChildProcess {
  if (!existsSync(MAIN)) throw new Error(`Expected a build at ${MAIN}. Run "npm run build:ts".`);
  const node = [process.execPath, ...(options.node ?? []), MAIN, ...args];
  const [program, ...rest] =
    options.core === undefined ? node : ['taskset', '-c', String(options.core), ...node];
  return spawn(program!, rest, {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, TANDEM_LOG_LEVEL: 'warn', ...options.env },
  });
}

/**
 * Waits until a server that spawnCli() started logs that it serves.
 *
 * @param child - started with TANDEM_LOG_LEVEL "info".
 * @returns its port.
 */
export function servingPort(child: ChildProcess): Promise<number> {
  return new Promise((resolve) => {
    createInterface({ input: child.stderr! }).on('line', (line) => {
      const { msg, port } = JSON.parse(line) as { msg: string; port: number };
      if (msg === 'serving') resolve(port);
    });
  });
}

/** Runs a command and waits for its end. */
export function runCli(args: readonly string[], options: CliOptions = {}): Promise<CliResult> {
  return new Promise((resolve, reject) => {
    const child = spawnCli(args, options);
    const output = { stdout: '', stderr: '' };
    for (const name of ['stdout', 'stderr'] as const)
      child[name]!.setEncoding('utf8').on('data', (text: string) => {
        output[name] += text;
      });
    const timer =
      options.killAfterMs === undefined
        ? undefined
        : setTimeout(() => child.kill('SIGKILL'), options.killAfterMs);
    child.on('error', reject);
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      resolve({ code, signal, ...output });
    });
  });
}
