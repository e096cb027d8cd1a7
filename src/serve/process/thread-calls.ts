// Calls between two threads, with birpc over a message port. This file decides how errors cross and
// what happens when the other thread has ended.

import type { MessagePort, Worker } from 'node:worker_threads';
import { createBirpc, type BirpcReturn } from 'birpc';
import { TandemError, type ErrorCode } from '../../errors.ts';

/**
 * The functions that one side may call on the other. Each takes one argument; argument and result
 * must be values that postMessage() can copy.
 */
export type Answers = Readonly<Record<string, (argument: never) => unknown>>;

/** A TandemError as plain data. Of an Error, postMessage() copies only name, message and stack. */
interface PackedError {
  readonly tandemCode: ErrorCode;
  readonly message: string;
  readonly details: Readonly<Record<string, unknown>>;
}

export class ThreadCalls<Remote extends Answers> {
  readonly #rpc: BirpcReturn<Remote, Answers, false>;
  #ended: Error | undefined;

  /** @param answers - what the other side may call here. */
  constructor(port: MessagePort | Worker, answers: Answers) {
    this.#rpc = createBirpc<Remote, Answers, false>(answers, {
      post: (message) => {
        port.postMessage(message);
      },
      on: (receive) => {
        port.on('message', receive);
      },
      serialize: packError,
      deserialize: unpackError,
      bind: 'functions',
      proxify: false,
      // No timeout: a call may wait for a slow store, and abandon() ends calls of a dead thread.
      timeout: -1,
    });
  }

  /**
   * Calls a function of the other side. Calls arrive in the order in which they were made.
   *
   * @throws a copy of what the function throws. A TandemError keeps its code and details.
   */
  call<Name extends keyof Remote & string>(
    name: Name,
    argument: Parameters<Remote[Name]>[0],
  ): Promise<Awaited<ReturnType<Remote[Name]>>> {
    if (this.#ended !== undefined) return Promise.reject(this.#ended);
    return this.#rpc.$call(name, ...([argument] as Parameters<Remote[Name]>));
  }

  /** Rejects open calls and all later calls with `reason`, because the other thread has ended. */
  abandon(reason: Error): void {
    this.#ended = reason;
    void this.#rpc.$rejectPendingCalls(({ reject }) => {
      reject(reason);
    });
  }
}

/** The answer of a call: `i` names the call, `e` is what it threw. */
interface Answer {
  readonly t: 's';
  readonly i: string;
  readonly e?: unknown;
}

function packError(message: Answer): Answer {
  if (!(message.e instanceof TandemError)) return message;
  const { code: tandemCode, message: text, details } = message.e;
  return { t: message.t, i: message.i, e: { tandemCode, message: text, details } };
}

function unpackError(message: Answer): Answer {
  const packed = message.e as Partial<PackedError> | undefined;
  if (packed?.tandemCode === undefined) return message;
  const { tandemCode, message: text, details } = packed as PackedError;
  return { t: message.t, i: message.i, e: new TandemError(tandemCode, text, { details }) };
}
