// Sends requests to a server over HTTP, on connections that are kept alive.

import { Agent, request } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';

const BACK_OFF_MS = 10;
const PATIENCE_MS = 30_000;
const agent = new Agent({ keepAlive: true, maxSockets: 64 });

export interface Reply {
  readonly status: number;
  /** Parsed JSON, or the text where it is not JSON. */
  readonly body: unknown;
}

export function get(port: number, path: string): Promise<Reply> {
  return ask(port, 'GET', path, '');
}

export function post(port: number, path: string, body: object): Promise<Reply> {
  return ask(port, 'POST', path, JSON.stringify(body));
}

/**
 * Sends a request again for as long as the server answers 503.
 *
 * @returns the parsed body of the answer with status 200.
 * @throws Error for any status but 200 and 503.
 */
export async function postUntilTaken(port: number, path: string, body: object): Promise<unknown> {
  for (;;) {
    const { status, body: answer } = await post(port, path, body);
    if (status === 200) return answer;
    if (status !== 503) throw new Error(`Expected an answer, received ${status}.`);
    await sleep(BACK_OFF_MS);
  }
}

/** Sends `text` unchanged, whatever the method. Rejects when no complete answer arrives. */
export function ask(
  port: number,
  method: string,
  path: string,
  text: string | Uint8Array,
  headers: Readonly<Record<string, string>> = {},
  patienceMs: number = PATIENCE_MS,
): Promise<Reply> {
  // node:http sends the body of a GET, HEAD, DELETE or OPTIONS without a length, and a server would
  // read it as the next request.
  const framed = { ...headers, 'Content-Length': Buffer.byteLength(text) };
  const options = { host: '127.0.0.1', port, method, path, agent, headers: framed };
  return new Promise((resolve, reject) => {
    const sent = request(options, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('error', reject);
      response.on('end', () => {
        const answer = Buffer.concat(chunks).toString();
        resolve({ status: response.statusCode!, body: parsed(answer) });
      });
    });
    sent.on('error', reject);
    sent.setTimeout(patienceMs, () => {
      sent.destroy(new Error(`Expected an answer to ${method} ${path} within ${patienceMs} ms.`));
    });
    sent.end(text);
  });
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
