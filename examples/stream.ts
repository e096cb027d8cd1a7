// A WebSocket session: one user walks over some items and sees the best candidates of each.
// Usage: npx tsx examples/stream.ts ws://127.0.0.1:8080 USER ITEM...

import { WebSocket } from 'ws';

type Frame =
  | { readonly type: 'ready' }
  | {
      readonly type: 'candidates';
      readonly id: number;
      readonly candidates: readonly { readonly item: string; readonly score: number }[];
    }
  | {
      readonly type: 'error';
      readonly id: number | null;
      readonly error: { readonly code: string; readonly message: string };
    };

const [base, user, ...items] = process.argv.slice(2);
const socket = new WebSocket(`${base}/v1/stream`);
let answered = 0;

socket.on('open', () => {
  socket.send(JSON.stringify({ type: 'hello', user, k: 3 }));
});
socket.on('error', (error) => {
  console.error(error.message);
  process.exitCode = 1;
});
socket.on('message', (data: Buffer) => {
  const frame = JSON.parse(data.toString('utf8')) as Frame;
  if (frame.type === 'ready') {
    // All at once: answers carry the id of their subject and may come in any order.
    for (const [id, item] of items.entries())
      socket.send(JSON.stringify({ type: 'subject', id, surface: 'related', subject: { item } }));
    return;
  }
  const item = frame.id === null ? undefined : items[frame.id];
  if (frame.type === 'error') console.log(JSON.stringify({ item, error: frame.error.code }));
  else console.log(JSON.stringify({ item, candidates: frame.candidates }));
  answered += 1;
  if (answered === items.length) socket.close();
});
