// HTTP as bytes on a socket, for what a client library would not send.

import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

const PAUSE_MS = 20;

/**
 * Writes parts with a pause between them, and reads until the server closes or is silent.
 *
 * @param base - host and port.
 * @param silenceMs - the connection is given up when nothing arrives for this long.
 * @param halfClose - whether the client shuts down its side after the last part.
 * @returns what arrived.
 */
export function raw(
  base: string,
  pieces: readonly string[],
  { silenceMs = 500, halfClose = false }: { silenceMs?: number; halfClose?: boolean } = {},
): Promise<string> {
  return new Promise((resolve, reject) => {
    const [host = '', port] = base.split(':');
    const socket = connect({ host, port: Number(port), allowHalfOpen: halfClose });
    let received = '';
    // A server that closes with unread bytes resets the connection.
    socket.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'ECONNRESET') reject(error);
    });
    socket.setTimeout(silenceMs, () => socket.destroy());
    socket.on('data', (data) => (received += data.toString('utf8')));
    socket.on('close', () => {
      resolve(received);
    });
    socket.on('end', () => socket.end());
    socket.on('connect', () => {
      void (async () => {
        for (const piece of pieces) {
          socket.write(piece);
          await sleep(PAUSE_MS);
        }
        if (halfClose) socket.end();
      })();
    });
  });
}
