// application/x-tandem: candidates in little-endian bytes. docs/binary.md has the layout, examples/ readers of it.

import { invalid, parseCandidates, type CandidatesRequest } from './schemas.ts';
import { ignoredMembers, type AnswerParts, type StateSummary } from './encode-answer.ts';
import type { Engine } from './engine.ts';

export const BINARY_TYPE = 'application/x-tandem';

const VERSION = 1;
const HEADER_BYTES = 24;
const STATES: readonly StateSummary['status'][] = ['missing', 'fresh', 'stale', 'version_mismatch'];
const TRUNCATED = 1;

export interface BinaryAnswer {
  readonly state: StateSummary;
  readonly truncated: boolean;
  /** [n], best first. */
  readonly scores: Float32Array;
  /** request_id, bundle_id, plan, mode and reason of degraded, names of ignored members joined by commas; then n item ids. */
  readonly strings: readonly string[];
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
  const { bundleId } = engine.bundle.manifest;
  const { slots, scores, plan } = parts.hits;
  const { mode, reason } = parts.degraded ?? { mode: '', reason: '' };
  const ignored = ignoredMembers(engine, parts).join();
  const strings = [parts.requestId, bundleId, plan, mode, reason, ignored];
  for (const row of slots) strings.push(engine.bundle.catalogue.id(row));
  return packAnswer({
    state: parts.state,
    truncated: slots.length < parts.request.k,
    scores,
    strings,
  });
}

/** The bytes of an answer; all texts are encoded in one call. */
export function packAnswer({ state, truncated, scores, strings }: BinaryAnswer): Uint8Array {
  const fixedBytes = HEADER_BYTES + 4 * scores.length + 4 * strings.length;
  const text = strings.join('');
  const textBytes = Buffer.byteLength(text);
  const bytes = Buffer.allocUnsafe(fixedBytes + textBytes);
  bytes.write('TNDM', 'latin1');
  bytes.writeUInt16LE(VERSION, 4);
  bytes.writeUInt8(STATES.indexOf(state.status), 6);
  bytes.writeUInt8(truncated ? TRUNCATED : 0, 7);
  bytes.writeUInt32LE(scores.length, 8);
  bytes.writeUInt32LE(textBytes, 12);
  bytes.writeDoubleLE(state.ageSeconds ?? Number.NaN, 16);
  let at = HEADER_BYTES;
  for (const score of scores) at = bytes.writeFloatLE(score, at);
  let end = 0;
  for (const string of strings) {
    // Byte length and length in UTF-16 differ only where some text is not ASCII.
    end += textBytes === text.length ? string.length : Buffer.byteLength(string);
    at = bytes.writeUInt32LE(end, at);
  }
  bytes.write(text, at, 'utf8');
  return bytes;
}
