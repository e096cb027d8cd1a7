// A client of HTTP/1.1 over raw sockets: a pool of keep-alive connections with one request at a
// time each. It reads only the status and the length of an answer: a client that parses bodies
// would be the bottleneck on two cores.

import { connect, type Socket } from 'node:net';
import type { AnswerKind, Client } from './client.ts';
import { K, type Question } from './load.ts';

const MAX_CONNECTIONS = 256;
const ANSWERS: Readonly<Record<string, AnswerKind>> = {
  'HTTP/1.1 200': 'answered',
  'HTTP/1.1 503': 'refused',
};
const STATUS_END = 'HTTP/1.1 200'.length;
const HEAD_END = Buffer.from('\r\n\r\n');

interface Waiting {
  readonly index: number;
  readonly done: (answer: AnswerKind) => void;
}

export function openHttp(port: number, questions: readonly Question[], binary: boolean): Client {
  const accept = binary ? 'Accept: application/x-tandem\r\n' : '';
  const requests = questions.map((question) => {
    const body = JSON.stringify({ ...question, k: K });
    return Buffer.from(
      'POST /v1/candidates HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n' +
        `${accept}Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
    );
  });
  const idle: Connection[] = [];
  const connections = new Set<Connection>();
  const queue: Waiting[] = [];
  let queueHead = 0;

  const release = (connection: Connection): void => {
    if (connection.broken) connections.delete(connection);
    const next = queueHead < queue.length ? queue[queueHead++] : undefined;
    if (next === undefined) {
      if (!connection.broken) idle.push(connection);
    } else (connection.broken ? open() : connection).send(requests[next.index]!, next.done);
  };
  const open = (): Connection => {
    const connection = new Connection(port, release);
    connections.add(connection);
    return connection;
  };
  return {
    send(index, done) {
      let connection = idle.pop();
      while (connection?.broken === true) {
        connections.delete(connection);
        connection = idle.pop();
      }
      if (connection === undefined && connections.size < MAX_CONNECTIONS) connection = open();
      if (connection === undefined) queue.push({ index, done });
      else connection.send(requests[index]!, done);
    },
    close() {
      for (const connection of connections) connection.close();
    },
  };
}

class Connection {
  broken = false;
  readonly #socket: Socket;
  readonly #release: (connection: Connection) => void;
  #done: ((answer: AnswerKind) => void) | undefined;
  #head: Buffer = Buffer.alloc(0);
  /** Bytes of the body that have not arrived; -1 while the head is read. */
  #missing = -1;
  #answer: AnswerKind = 'failed';

  constructor(port: number, release: (connection: Connection) => void) {
    this.#release = release;
    this.#socket = connect({ port, host: '127.0.0.1', noDelay: true });
    this.#socket.on('data', (chunk) => {
      this.#read(chunk);
    });
    this.#socket.on('error', () => {
      this.#break();
    });
    this.#socket.on('close', () => {
      this.#break();
    });
  }

  send(request: Buffer, done: (answer: AnswerKind) => void): void {
    this.#done = done;
    this.#socket.write(request);
  }

  close(): void {
    this.#done = undefined;
    this.#socket.destroy();
  }

  #read(chunk: Buffer): void {
    if (this.#missing < 0) {
      const head = this.#head.length === 0 ? chunk : Buffer.concat([this.#head, chunk]);
      const end = head.indexOf(HEAD_END);
      if (end < 0) {
        this.#head = head;
        return;
      }
      const text = head.toString('latin1', 0, end);
      this.#answer = ANSWERS[text.slice(0, STATUS_END)] ?? 'failed';
      this.#missing = Number(/^content-length: *(\d+)/im.exec(text)?.[1] ?? 0);
      this.#missing -= head.length - end - HEAD_END.length;
      this.#head = Buffer.alloc(0);
    } else this.#missing -= chunk.length;
    if (this.#missing <= 0) this.#finish(this.#answer);
  }

  #break(): void {
    if (this.broken) return;
    this.broken = true;
    this.#finish('failed');
  }

  #finish(answer: AnswerKind): void {
    this.#missing = -1;
    const done = this.#done;
    if (done === undefined) return;
    this.#done = undefined;
    done(answer);
    this.#release(this);
  }
}
