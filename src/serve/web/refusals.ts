// Replies with one error to many requests, which differ in their ids alone: under overload that is most of what a server does.

import type { HttpReply } from './transport.ts';

/** No request has this id, and JSON shows it as no other text. */
const ANY_ID = '\u0001';

export class Refusals {
  readonly #replyTo: (path: string, error: unknown, requestId: string) => HttpReply;
  #error: unknown;
  /** By path, for the last error: the reply, and its body where ids part it. */
  readonly #made = new Map<
    string,
    { readonly reply: HttpReply; readonly parts: readonly string[] }
  >();

  /** @param replyTo - makes the reply to one request; its body is text, and has the id in a JSON string or not at all. */
  constructor(replyTo: (path: string, error: unknown, requestId: string) => HttpReply) {
    this.#replyTo = replyTo;
  }

  /**
   * As `replyTo`, but for headers that have the id.
   *
   * @param path - one of the known ones: what is made for each is kept.
   */
  reply(path: string, error: unknown, requestId: string): HttpReply {
    if (error !== this.#error) this.#made.clear();
    this.#error = error;
    let made = this.#made.get(path);
    if (made === undefined) {
      const reply = this.#replyTo(path, error, ANY_ID);
      made = { reply, parts: String(reply.body).split(JSON.stringify(ANY_ID).slice(1, -1)) };
      this.#made.set(path, made);
    }
    const { status, contentType, headers = {} } = made.reply;
    const [before, after] = made.parts;
    const body = after === undefined ? before! : before! + requestId + after;
    return { status, contentType, body, headers };
  }
}
