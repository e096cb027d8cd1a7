// Answers as frames of a WebSocket: the body that HTTP has, or a change against the answer before, behind the id of the subject.
// docs/serving.md has deltas, docs/binary.md the layout of binary frames.

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
 * An answer that is about to be sent. What was sent before it is known only then: a micro-batch encodes several answers of a
 * session before the first of them goes out, and encodes some twice when it fails.
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

/** @param base - undefined = the answer must be whole. @returns the smaller of the two frames. */
export function answerFrame(
  id: string | number,
  answer: StreamAnswer,
  base: SentAnswer | undefined,
): Body {
  const whole = frame('candidates', id, answer.whole);
  // Rows are those of a bundle and of what became of its items.
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
      // A copy: the session keeps it, and the hits are a part of the arrays of their micro-batch.
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
