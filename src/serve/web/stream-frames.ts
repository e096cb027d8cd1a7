// Answers as WebSocket frames: the id of the subject, followed by the body that HTTP has or by a
// change against the answer before. The documentation describes deltas and the layout of binary
// frames.

import { encodeDelta } from '../answer/encode-answer.ts';
import { encodeBinaryDelta } from '../answer/encode-binary.ts';
import { BINARY_CANDIDATES, CANDIDATES } from '../answer/endpoints.ts';
import type { Engine } from '../engine/engine.ts';
import type { SentAnswer } from '../answer/sent-answer.ts';
import type { AnswerParts } from '../answer/answer-parts.ts';
import type { Endpoint } from '../answer/endpoint.ts';
import type { CandidatesRequest, HelloFrame } from '../request/request-types.ts';

type Body = string | Uint8Array;

/**
 * An answer before it is sent. The delta is made only when the answer is sent, because only then
 * the answer before it is known: a micro-batch encodes several answers of a session before it sends
 * the first, and encodes some of them twice when it fails.
 */
export interface StreamAnswer extends Omit<SentAnswer, 'id'> {
  readonly whole: Body;
  delta(base: SentAnswer): Body;
}

export type StreamEndpoint = Endpoint<CandidatesRequest, StreamAnswer>;

export const STREAM_ENDPOINTS: Readonly<Record<HelloFrame['encoding'], StreamEndpoint>> = {
  json: streamed(CANDIDATES, encodeDelta),
  binary: streamed(BINARY_CANDIDATES, encodeBinaryDelta),
};

/**
 * Returns the smaller frame: the whole answer or its delta.
 *
 * @param base - the answer before. Undefined demands the whole answer.
 */
export function answerFrame(
  id: string | number,
  answer: StreamAnswer,
  base: SentAnswer | undefined,
): Body {
  const whole = frame('candidates', id, answer.whole);
  // Rows have a meaning only within one bundle and one version of its items.
  if (base?.bundleId !== answer.bundleId || base.itemsVersion !== answer.itemsVersion) return whole;
  const delta = frame('delta', id, answer.delta(base));
  return Buffer.byteLength(delta) < Buffer.byteLength(whole) ? delta : whole;
}

function streamed<B extends Body>(
  endpoint: Endpoint<CandidatesRequest, B>,
  encode: (engine: Engine, parts: AnswerParts<CandidatesRequest>, base: SentAnswer) => B,
): StreamEndpoint {
  return {
    ...endpoint,
    encode: (engine, parts) => ({
      bundleId: engine.bundle.manifest.bundleId,
      itemsVersion: engine.items.version,
      // A copy, because the session keeps the rows and the arrays of the micro-batch are reused.
      rows: parts.hits.rows.slice(),
      whole: endpoint.encode(engine, parts),
      delta: (base) => encode(engine, parts, base),
    }),
  };
}

function frame(type: 'candidates' | 'delta', id: string | number, body: Body): Body {
  const idJson = JSON.stringify(id);
  if (typeof body === 'string') return `{"type":"${type}","id":${idJson},${body.slice(1)}`;
  const idBytes = Buffer.byteLength(idJson);
  const front = Buffer.allocUnsafe(2 + idBytes);
  front.writeUInt16LE(idBytes);
  front.write(idJson, 2, 'utf8');
  return Buffer.concat([front, body]);
}
