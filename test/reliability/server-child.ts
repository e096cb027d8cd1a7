// `tandem serve` of dist/ in its own process, as in production: it can be observed, stopped and
// killed.

import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import type { ChildProcess } from 'node:child_process';
import { createInterface } from 'node:readline';
import { spawnCli } from '../support/cli.ts';

const LOG_LINES = 200;

export class ServerChild {
  readonly port: number;
  /** 0 without an admin port. */
  readonly adminPort: number;
  readonly #child: ChildProcess;
  readonly #log: string[];

  private constructor(
    child: ChildProcess,
    log: string[],
    ports: { port: number; admin_port?: number },
  ) {
    this.#child = child;
    this.#log = log;
    this.port = ports.port;
    this.adminPort = ports.admin_port ?? 0;
  }

  /**
   * Starts a server. Resolves when it serves; rejects with its log when it exits before.
   *
   * @param core - the only core that it runs on; any by default.
   */
  static start(
    flags: Readonly<Record<string, string>>,
    env: Readonly<Record<string, string>> = {},
    core?: number,
  ): Promise<ServerChild> {
    const args = Object.entries({ port: '0', ...flags }).flatMap(([name, value]) => [
      `--${name}`,
      value,
    ]);
    const child = spawnCli(['serve', ...args], { env: { TANDEM_LOG_LEVEL: 'info', ...env }, core });
    child.stdout!.resume();
    const log: string[] = [];
    return new Promise((resolve, reject) => {
      createInterface({ input: child.stderr! }).on('line', (line) => {
        log.push(line);
        if (log.length > LOG_LINES) log.shift();
        if (line.includes('"msg":"serving"'))
          resolve(new ServerChild(child, log, JSON.parse(line) as { port: number }));
      });
      child.once('close', (code) => {
        reject(
          new Error(
            `Expected a server to start, it ended with ${String(code)}:\n${log.join('\n')}`,
          ),
        );
      });
    });
  }

  /** Whether the process has ended. */
  get hasEnded(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  /** The newest lines of its log. */
  get log(): string {
    return this.#log.join('\n');
  }

  /**
   * @throws Error with the end of the log when the process has ended without being killed by the
   * test.
   */
  expectAlive(): void {
    if (this.hasEnded)
      throw new Error(
        `Expected the server to run, it ended with ${this.#endedWith()}:\n${this.log}`,
      );
  }

  #endedWith(): string {
    return String(this.#child.signalCode ?? this.#child.exitCode);
  }

  /** @returns resident memory, in bytes. */
  rssBytes(): number {
    this.expectAlive();
    const status = readFileSync(`/proc/${String(this.#child.pid)}/status`, 'utf8');
    return Number(/^VmRSS:\s*(\d+) kB/m.exec(status)![1]) * 1024;
  }

  /** Sends SIGTERM, or `signal`. Resolves when the process has ended. */
  async end(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    if (this.hasEnded) return;
    const exit = once(this.#child, 'exit');
    this.#child.kill(signal);
    await exit;
  }
}
