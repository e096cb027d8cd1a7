// A WebSocket session: one user looks at several items and gets the best candidates for each.
// Usage: npx tsx examples/stream.ts [--binary] [--deltas] ws://127.0.0.1:8080 USER ITEM...

import { parseArgs } from 'node:util';
import { WebSocket } from 'ws';
import { StreamReader } from './stream-reader.ts';

const { values, positionals } = parseArgs({
  options: { binary: { type: 'boolean' }, deltas: { type: 'boolean' } },
  allowPositionals: true,
});
const [base, user, ...items] = positionals;
const socket = new WebSocket(`${base}/v1/stream`);
const reader = new StreamReader();
let answered = 0;

socket.on('open', () => {
  const encoding = values.binary === true ? 'binary' : 'json';
  const deltas = values.deltas === true;
  socket.send(JSON.stringify({ type: 'hello', user, k: 3, encoding, deltas }));
});
socket.on('error', (error) => {
  console.error(error.message);
  process.exitCode = 1;
});
socket.on('message', (data: Buffer, isBinary) => {
  const frame = reader.read(data, isBinary);
  if (frame.type === 'ready') {
    // Send all subjects at once: answers carry the id of their subject and may come in any order.
    for (const [id, item] of items.entries())
      socket.send(JSON.stringify({ type: 'subject', id, surface: 'related', subject: { item } }));
    return;
  }
  const item = frame.id === null ? undefined : items[Number(frame.id)];
  if (frame.type === 'error') console.log(JSON.stringify({ item, error: frame.error.code }));
  else console.log(JSON.stringify({ item, candidates: frame.answer.candidates }));
  answered += 1;
  if (answered === items.length) socket.close();
});
