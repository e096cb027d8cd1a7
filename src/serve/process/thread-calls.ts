// Calls between two threads: each side names what the other may call, and every call is answered by a promise.

import type { MessagePort, Worker } from 'node:worker_threads';

/** What one side answers: one argument each, which postMessage() can copy, as it can the result. */
export type Answers = Readonly<Record<string, (argument: never) => unknown>>;

type Message =
  | { readonly call: string; readonly id: number; readonly argument: unknown }
  | { readonly answer: number; readonly value: unknown }
  | { readonly answer: number; readonly error: unknown };

interface Waiting {
  readonly resolve: (value: never) => void;
  readonly reject: (reason: unknown) => void;
}

export class ThreadCalls<Remote extends Answers> {
  readonly #port: MessagePort | Worker;
  readonly #answers: Answers;
  readonly #waiting = new Map<number, Waiting>();
  #abandoned: Error | undefined;
  #last = 0;

  constructor(port: MessagePort | Worker, answers: Answers) {
    this.#port = port;
    this.#answers = answers;
    port.on('message', (message: Message) => {
      if ('call' in message) void this.#answer(message.call, message.id, message.argument);
      else this.#settle(message);
    });
  }

  /** Calls arrive in the order in which they were made. @throws what the other side throws, as a copy. */
  call<Name extends keyof Remote & string>(
    name: Name,
    argument: Parameters<Remote[Name]>[0],
  ): Promise<Awaited<ReturnType<Remote[Name]>>> {
    const id = ++this.#last;
    return new Promise((resolve, reject) => {
      if (this.#abandoned !== undefined) throw this.#abandoned;
      this.#waiting.set(id, { resolve, reject });
      this.#post({ call: name, id, argument });
    });
  }

  /** Rejects what is still waited for and what is asked from now on: the other thread has ended. */
  abandon(reason: Error): void {
    this.#abandoned = reason;
    for (const { reject } of this.#waiting.values()) reject(reason);
    this.#waiting.clear();
  }

  async #answer(name: string, id: number, argument: unknown): Promise<void> {
    try {
      this.#post({ answer: id, value: await this.#answers[name]!(argument as never) });
    } catch (error) {
      this.#post({ answer: id, error });
    }
  }

  #settle(message: Exclude<Message, { readonly call: string }>): void {
    const waiting = this.#waiting.get(message.answer);
    this.#waiting.delete(message.answer);
    if ('error' in message) waiting?.reject(message.error);
    else waiting?.resolve(message.value as never);
  }

  #post(message: Message): void {
    this.#port.postMessage(message);
  }
}
