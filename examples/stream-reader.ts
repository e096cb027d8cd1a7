// Reads the frames that /v1/stream sends, JSON and binary ones; docs/binary.md has the layout of the latter.

import { readAnswer, type Answer } from './binary-candidates.ts';

export type StreamFrame =
  | { readonly type: 'ready'; readonly session_id: string }
  | {
      readonly type: 'error';
      readonly id: string | number | null;
      readonly error: { readonly code: string; readonly message: string };
    }
  | { readonly type: 'candidates'; readonly id: string | number; readonly answer: Answer };

/** @throws RangeError when a binary frame is no answer of version 1, whole. */
export function readFrame(data: Uint8Array, isBinary: boolean): StreamFrame {
  if (isBinary) {
    const { id, body } = splitFrame(data);
    return { type: 'candidates', id, answer: readAnswer(body) };
  }
  const frame = JSON.parse(new TextDecoder().decode(data)) as { readonly type: string };
  if (frame.type !== 'candidates') return frame as StreamFrame;
  const { type, id, ...answer } = frame as { type: 'candidates'; id: string | number } & Answer;
  // JSON leaves the member out when there is nothing in it.
  return { type, id, answer: { ...answer, ignored: (answer as Partial<Answer>).ignored ?? [] } };
}

function splitFrame(data: Uint8Array): { id: string | number; body: Uint8Array } {
  const bodyStart = 2 + new DataView(data.buffer, data.byteOffset, data.length).getUint16(0, true);
  const id = JSON.parse(new TextDecoder().decode(data.subarray(2, bodyStart))) as string | number;
  return { id, body: data.subarray(bodyStart) };
}
