// A client of WebSocket sessions, one user each, which take turns. It reads only the id and the
// kind of an answer.

import { WebSocket } from 'ws';
import type { AnswerKind, Client } from './client.ts';
import { K, type Question } from './load.ts';

/**
 * The server's default allows 64 unanswered subjects in a session, so 4,096 requests may be open.
 */
const SESSIONS = 64;
/** The id of an answer is within its first bytes. */
const ID_AT_MOST = 80;

export async function openSockets(port: number, questions: readonly Question[]): Promise<Client> {
  const waiting = new Map<number, (answer: AnswerKind) => void>();
  const tails = questions.map(
    ({ surface, subject }) => `,${JSON.stringify({ surface, subject }).slice(1)}`,
  );
  const sockets = await Promise.all(
    Array.from({ length: SESSIONS }, (_, i) =>
      openSession(port, questions[i % questions.length]!.user, (id, answer) => {
        waiting.get(id)?.(answer);
        waiting.delete(id);
      }),
    ),
  );
  let next = 0;
  return {
    send(index, done) {
      const id = next++;
      waiting.set(id, done);
      sockets[id % SESSIONS]!.send(`{"type":"subject","id":${id}${tails[index]!}`);
    },
    close() {
      for (const socket of sockets) socket.terminate();
    },
  };
}

/** Opens a session and resolves when the server has accepted the hello. */
function openSession(
  port: number,
  user: string,
  onAnswer: (id: number, answer: AnswerKind) => void,
): Promise<WebSocket> {
  const socket = new WebSocket(`ws://127.0.0.1:${port}/v1/stream`, { perMessageDeflate: false });
  return new Promise((resolve, reject) => {
    socket.on('error', reject);
    socket.once('open', () => {
      socket.send(JSON.stringify({ type: 'hello', user, k: K }));
    });
    socket.on('message', (data: Buffer) => {
      const start = data.toString('latin1', 0, ID_AT_MOST);
      const id = /"id":(\d+)/.exec(start)?.[1];
      if (id === undefined) resolve(socket);
      else if (start.startsWith('{"type":"candidates"')) onAnswer(Number(id), 'answered');
      else onAnswer(Number(id), start.includes('ERR_OVERLOADED') ? 'refused' : 'failed');
    });
  });
}
