// Writes candidates as application/x-tandem: little-endian bytes. The layout is in
// docs/reference/binary-protocol.md, and examples/ has readers.

import { invalid } from '../request/parse-body.ts';
import { parseCandidates } from '../request/query-requests.ts';
import { ignoredMembers } from './encode-answer.ts';
import type { Engine } from '../engine/engine.ts';
import { NEW_ITEM, positionsIn, type SentAnswer } from './sent-answer.ts';
import { TextWriter } from '../engine/text-writer.ts';
import type { AnswerParts, ReportedState } from './answer-parts.ts';
import type { CandidatesRequest } from '../request/request-types.ts';

export const BINARY_TYPE = 'application/x-tandem';

const VERSION = 1;
const HEADER_BYTES = 24;
const STATES: readonly ReportedState['status'][] = [
  'missing',
  'fresh',
  'stale',
  'version_mismatch',
];
const TRUNCATED = 1;
const NO_POSITIONS = new Uint16Array(0);

export interface BinaryAnswer {
  readonly state: ReportedState;
  readonly truncated: boolean;
  /** [n], best first. */
  readonly scores: Float32Array;
  /**
   * The strings of the answer: request_id, bundle_id, plan, mode and reason of the degradation,
   * names of ignored members joined by commas, and n item ids.
   */
  readonly texts: TextWriter;
  /** End of each string. */
  readonly ends: readonly number[];
  /**
   * [n] positions, in a delta alone. Its strings have the id of the base instead of bundle_id, and
   * ids of new items alone.
   */
  readonly positions?: Uint16Array;
}

/**
 * Checks a body as parseCandidates() does, and refuses `explain`, which has no binary form.
 *
 * @throws TandemError ERR_INVALID_REQUEST.
 */
export function parseBinaryCandidates(value: unknown): CandidatesRequest {
  const request = parseCandidates(value);
  if (request.explain)
    throw invalid(
      `Expected explain only with JSON answers, received it with Accept: ${BINARY_TYPE}.`,
      'explain',
    );
  return request;
}

/** @returns the CandidatesResponse in bytes. */
export function encodeBinaryCandidates(
  engine: Engine,
  parts: AnswerParts<CandidatesRequest>,
): Uint8Array {
  return packAnswer(binaryAnswer(engine, parts, engine.bundle.manifest.bundleId, parts.hits.rows));
}

/** @returns candidates as a change of an earlier answer, in bytes: encodeDelta() in binary. */
export function encodeBinaryDelta(
  engine: Engine,
  parts: AnswerParts<CandidatesRequest>,
  base: SentAnswer,
): Uint8Array {
  const positions = positionsIn(base, parts.hits.rows);
  const added = parts.hits.rows.filter((_, i) => positions[i] === NEW_ITEM);
  return packAnswer({ ...binaryAnswer(engine, parts, JSON.stringify(base.id), added), positions });
}

/** One writer serves the whole event loop, because an answer is written without interruption. */
const TEXTS = new TextWriter();

/**
 * @param origin - the string that names the bundle or the base.
 * @param spelledOut - rows whose ids are in the answer.
 */
function binaryAnswer(
  engine: Engine,
  parts: AnswerParts<CandidatesRequest>,
  origin: string,
  spelledOut: Int32Array,
): BinaryAnswer {
  const { rows, scores, plan } = parts.hits;
  const { mode, reason } = parts.degraded ?? { mode: '', reason: '' };
  const ignored = ignoredMembers(engine, parts).join();
  const ends: number[] = [];
  TEXTS.clear();
  for (const text of [parts.requestId, origin, plan, mode, reason, ignored]) {
    TEXTS.text(text);
    ends.push(TEXTS.length);
  }
  for (const row of spelledOut) {
    engine.items.copyId(row, TEXTS);
    ends.push(TEXTS.length);
  }
  const truncated = rows.length < parts.request.k;
  return { state: parts.state, truncated, scores, texts: TEXTS, ends };
}

/** @returns the bytes of an answer, in a new array. */
export function packAnswer(answer: BinaryAnswer): Uint8Array {
  const { state, truncated, scores, texts, ends, positions = NO_POSITIONS } = answer;
  const fixedBytes = HEADER_BYTES + 4 * scores.length + 2 * positions.length + 4 * ends.length;
  const bytes = Buffer.allocUnsafe(fixedBytes + texts.length);
  bytes.write(answer.positions === undefined ? 'TNDM' : 'TNDD', 'latin1');
  bytes.writeUInt16LE(VERSION, 4);
  bytes.writeUInt8(STATES.indexOf(state.status), 6);
  bytes.writeUInt8(truncated ? TRUNCATED : 0, 7);
  bytes.writeUInt32LE(scores.length, 8);
  bytes.writeUInt32LE(texts.length, 12);
  bytes.writeDoubleLE(state.ageSeconds ?? Number.NaN, 16);
  let at = HEADER_BYTES;
  for (const score of scores) at = bytes.writeFloatLE(score, at);
  for (const position of positions) at = bytes.writeUInt16LE(position, at);
  for (const end of ends) at = bytes.writeUInt32LE(end, at);
  texts.copyTo(bytes, at);
  return bytes;
}
