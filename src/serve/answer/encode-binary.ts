// application/x-tandem: candidates in little-endian bytes. docs/binary.md has the layout, examples/ readers of it.

import { invalid } from '../request/parse-body.ts';
import { parseCandidates } from '../request/query-requests.ts';
import { ignoredMembers } from './encode-answer.ts';
import type { Engine } from '../engine/engine.ts';
import { NEW_ITEM, positionsIn, type SentAnswer } from './sent-answer.ts';
import { TextWriter } from '../engine/text-writer.ts';
import type { AnswerParts, StateSummary } from './answer-parts.ts';
import type { CandidatesRequest } from '../request/request-types.ts';

export const BINARY_TYPE = 'application/x-tandem';

const VERSION = 1;
const HEADER_BYTES = 24;
const STATES: readonly StateSummary['status'][] = ['missing', 'fresh', 'stale', 'version_mismatch'];
const TRUNCATED = 1;
const NO_POSITIONS = new Uint16Array(0);

export interface BinaryAnswer {
  readonly state: StateSummary;
  readonly truncated: boolean;
  /** [n], best first. */
  readonly scores: Float32Array;
  /** request_id, bundle_id, plan, mode and reason of degraded, names of ignored members joined by commas; then n item ids. */
  readonly texts: TextWriter;
  /** Where each of them ends. */
  readonly ends: readonly number[];
  /** [n] of a delta, whose texts have the id of the base in place of the bundle's, and ids of new items alone. */
  readonly positions?: Uint16Array;
}

/** As parseCandidates(); an explanation has no binary form. @throws TandemError ERR_INVALID_REQUEST. */
export function parseBinaryCandidates(value: unknown): CandidatesRequest {
  const request = parseCandidates(value);
  if (request.explain)
    throw invalid(
      `Expected explain only with JSON answers, received it with Accept: ${BINARY_TYPE}.`,
      'explain',
    );
  return request;
}

export function encodeBinaryCandidates(
  engine: Engine,
  parts: AnswerParts<CandidatesRequest>,
): Uint8Array {
  return packAnswer(binaryAnswer(engine, parts, engine.bundle.manifest.bundleId, parts.hits.rows));
}

/** The same as a change against the answer before: encodeDelta() in bytes. */
export function encodeBinaryDelta(
  engine: Engine,
  parts: AnswerParts<CandidatesRequest>,
  base: SentAnswer,
): Uint8Array {
  const positions = positionsIn(base, parts.hits.rows);
  const added = parts.hits.rows.filter((_, i) => positions[i] === NEW_ITEM);
  return packAnswer({ ...binaryAnswer(engine, parts, JSON.stringify(base.id), added), positions });
}

/** One for the event loop: an answer is written in one go. */
const TEXTS = new TextWriter();

/** @param origin - the text that tells which bundle the items are of; @param spelledOut - rows whose ids are given. */
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

/** The bytes of an answer. */
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
