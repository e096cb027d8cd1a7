// Runs a peer in a process of its own. A request is one line of JSON, its answer is one line of
// JSON. Each peer's file defines its operations.

import { spawn, type ChildProcessByStdio } from 'node:child_process';
import { createInterface, type Interface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';

export interface PeerOptions {
  readonly environment?: Readonly<Record<string, string>>;
}

type Answer = Readonly<Record<string, unknown>>;

/** A peer process. Only one request may wait for its answer at a time. */
export class PeerProcess {
  readonly #name: string;
  readonly #child: ChildProcessByStdio<Writable, Readable, null>;
  readonly #lines: Interface;
  #waiting: { resolve: (answer: Answer) => void; reject: (error: Error) => void } | undefined;
  #ended: Error | undefined;

  /** @param command - the interpreter, then its arguments. Its standard error is shown. */
  constructor(name: string, command: readonly [string, ...string[]], options: PeerOptions = {}) {
    const [file, ...parameters] = command;
    this.#name = name;
    this.#child = spawn(file, parameters, {
      stdio: ['pipe', 'pipe', 'inherit'],
      env: { ...process.env, ...options.environment },
    });
    this.#lines = createInterface({ input: this.#child.stdout });
    this.#lines.on('line', (line) => {
      this.#take(line);
    });
    this.#child.once('error', (cause) => {
      this.#end(new Error(`Expected ${name} to start, but ${file} did not: ${cause.message}.`));
    });
    this.#child.once('exit', (code, signal) => {
      this.#end(new Error(`${name} ended with ${signal ?? `code ${String(code)}`}.`));
    });
    // The exit handler reports a peer that died; an error while writing to it must not end this
    // process.
    this.#child.stdin.on('error', () => undefined);
  }

  /**
   * @throws Error with the peer's message when it answers {error}, or when it ends before it
   * answers.
   */
  request<Result>(operation: string, parameters: object = {}): Promise<Result> {
    return new Promise((resolve, reject) => {
      if (this.#ended !== undefined) {
        reject(this.#ended);
        return;
      }
      if (this.#waiting !== undefined)
        throw new Error(`Expected one request to ${this.#name} at a time.`);
      this.#waiting = {
        resolve: (answer) => {
          resolve(answer as Result);
        },
        reject,
      };
      this.#child.stdin.write(`${JSON.stringify({ operation, ...parameters })}\n`);
    });
  }

  /** Closes the peer's input, which makes it end, and waits for its end. */
  async close(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = new Promise((resolve) => this.#child.once('exit', resolve));
    this.#child.stdin.end();
    await ended;
  }

  #take(line: string): void {
    const waiting = this.#waiting;
    this.#waiting = undefined;
    if (waiting === undefined) {
      this.#end(new Error(`Expected nothing from ${this.#name}, received: ${line}`));
      return;
    }
    let answer: Answer;
    try {
      answer = JSON.parse(line) as Answer;
    } catch {
      waiting.reject(new Error(`Expected JSON from ${this.#name}, received: ${line}`));
      return;
    }
    if (typeof answer['error'] === 'string')
      waiting.reject(new Error(`${this.#name}: ${answer['error']}`));
    else waiting.resolve(answer);
  }

  #end(error: Error): void {
    this.#ended ??= error;
    this.#waiting?.reject(error);
    this.#waiting = undefined;
    this.#lines.close();
  }
}
