// Replies to many requests with the same error. The replies differ only in their request ids. Under
// overload this is most of what a server does, so a reply is made once and reused.

import type { HttpReply } from './transport.ts';

/** A placeholder: no request has this id, and no other text of a reply looks the same in JSON. */
const ANY_ID = '\u0001';

export class Refusals {
  readonly #replyTo: (path: string, error: unknown, requestId: string) => HttpReply;
  #error: unknown;
  /** The replies for the last error by path, with the parts of the body around the request id. */
  readonly #made = new Map<
    string,
    { readonly reply: HttpReply; readonly parts: readonly string[] }
  >();

  /**
   * @param replyTo - makes the reply to one request. The body must be text with the id in at most
   *   one JSON string.
   */
  constructor(replyTo: (path: string, error: unknown, requestId: string) => HttpReply) {
    this.#replyTo = replyTo;
  }

  /**
   * Returns the same reply as `replyTo`, except for headers with the request id.
   *
   * @param path - a known path, since the reply for each path is kept.
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
