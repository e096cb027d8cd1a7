// Writes answers as JSON. Candidates are written by hand, because that loop is hot.

import { TandemError } from '../../errors.ts';
import type { Engine, ResolvedSubject } from '../engine/engine.ts';
import { describeError } from '../request/error-body.ts';
import { NEW_ITEM, positionsIn, type SentAnswer } from './sent-answer.ts';
import { TextWriter } from '../engine/text-writer.ts';
import type {
  CandidatesRequest,
  EmbeddingsRequest,
  ScoreRequest,
} from '../request/request-types.ts';
import type { AnswerParts } from './answer-parts.ts';

/** One writer serves the whole event loop, because an answer is written without interruption. */
const OUT = new TextWriter();

/** @returns the CandidatesResponse as JSON. */
export function encodeCandidates(engine: Engine, parts: AnswerParts<CandidatesRequest>): string {
  const { request, hits } = parts;
  const { items } = engine;
  OUT.clear();
  OUT.text(answerHead(engine, parts));
  OUT.text(`,"plan":"${hits.plan}","truncated":${hits.rows.length < request.k},"candidates":[`);
  for (let i = 0; i < hits.rows.length; i++) {
    const row = hits.rows[i]!;
    OUT.ascii(i === 0 ? '{"item":' : ',{"item":');
    items.quoteId(row, OUT);
    OUT.ascii(',"score":');
    writeScore(hits.scores[i]!, OUT);
    if (request.explain) OUT.text(explainCandidate(engine, parts.subject, row));
    OUT.ascii('}');
  }
  OUT.text(`]${ignoredJson(engine, parts)}${request.explain ? explainAnswer(parts) : ''}}`);
  return OUT.toString();
}

/** @returns the EmbeddingsResponse as JSON. */
export function encodeEmbedding(engine: Engine, parts: AnswerParts<EmbeddingsRequest>): string {
  const values = nineDigits(parts.embedding);
  const head = answerHead(engine, parts);
  return `${head},"embedding":[${values.join()}]${ignoredJson(engine, parts)}}`;
}

/** Rounds to nine significant digits: short to print, and enough to read back the same f32. */
export function nineDigits(values: Float32Array): number[] {
  return Array.from(values, (value) => Number(value.toPrecision(9)));
}

/**
 * @returns the ScoreResponse as JSON. An item that the bundle lacks has an error instead of a
 *   score.
 */
export function encodeScores(engine: Engine, parts: AnswerParts<ScoreRequest>): string {
  const { request, requestId, hits } = parts;
  OUT.clear();
  OUT.text(`${answerHead(engine, parts)},"scores":[`);
  for (const [i, id] of request.items.entries()) {
    OUT.text(`${i === 0 ? '' : ','}{"item":${JSON.stringify(id)}`);
    if (hits.rows[i]! >= 0) {
      OUT.ascii(',"score":');
      writeScore(hits.scores[i]!, OUT);
      OUT.ascii('}');
    } else {
      const { body } = describeError(unknownItem(engine, id, `items.${i}`), requestId);
      OUT.text(`,"error":${JSON.stringify(body)}}`);
    }
  }
  OUT.text(`]${ignoredJson(engine, parts)}}`);
  return OUT.toString();
}

export function unknownItem(engine: Engine, id: string, field: string | null): TandemError {
  const bundle = engine.bundle.manifest.bundleId.slice(0, 12);
  return new TandemError(
    'ERR_UNKNOWN_ITEM',
    `Expected an item of bundle ${bundle}, received "${id}". ` +
      'Leave it out, or publish a bundle that has it.',
    { details: { field } },
  );
}

/**
 * Writes a score with six decimals. Scores of two CPUs agree on fewer, because they are computed in
 * f32.
 */
export function writeScore(score: number, out: TextWriter): void {
  const millionths = Math.round(score * 1e6);
  const size = Math.abs(millionths);
  if (size < 1e6) {
    out.ascii(millionths < 0 ? '-0.' : '0.');
    out.digits(size, 6);
  } else out.ascii(String(millionths / 1e6));
}

/**
 * Writes candidates as a change of an earlier answer: `base` instead of the bundle, and for each
 * candidate its position in the base, or its id if it is not in the base.
 *
 * @returns the delta as JSON.
 */
export function encodeDelta(
  engine: Engine,
  parts: AnswerParts<CandidatesRequest>,
  base: SentAnswer,
): string {
  const { request, hits } = parts;
  OUT.clear();
  OUT.text(openHead(parts, `"base":${JSON.stringify(base.id)}`));
  OUT.text(`,"plan":"${hits.plan}","truncated":${hits.rows.length < request.k},"items":[`);
  for (const [i, position] of positionsIn(base, hits.rows).entries()) {
    if (i > 0) OUT.ascii(',');
    if (position === NEW_ITEM) engine.items.quoteId(hits.rows[i]!, OUT);
    else OUT.ascii(String(position));
  }
  OUT.ascii('],"scores":[');
  for (const [i, score] of hits.scores.entries()) {
    if (i > 0) OUT.ascii(',');
    writeScore(score, OUT);
  }
  OUT.text(`]${ignoredJson(engine, parts)}}`);
  return OUT.toString();
}

/** The first members of every answer. The JSON object stays open. */
function answerHead(engine: Engine, parts: AnswerParts): string {
  return openHead(parts, `"bundle_id":"${engine.bundle.manifest.bundleId}"`);
}

/** @param origin - the member that names the bundle or the base. */
function openHead({ requestId, state, degraded }: AnswerParts, origin: string): string {
  return (
    `{"request_id":${JSON.stringify(requestId)},${origin},` +
    `"state":{"status":"${state.status}","age_seconds":${state.ageSeconds}},` +
    `"degraded":${degraded === undefined ? 'null' : JSON.stringify(degraded)}`
  );
}

function ignoredJson(engine: Engine, parts: AnswerParts): string {
  const ignored = ignoredMembers(engine, parts);
  return ignored.length === 0 ? '' : `,"ignored":${JSON.stringify(ignored)}`;
}

/**
 * Members of the request that did not change the scores: the bundle has no context layer or knows
 * none of their values.
 */
export function ignoredMembers(engine: Engine, { request, subject }: AnswerParts): string[] {
  const ignored: string[] = [];
  const subjectCounts = subject.bag.rows.length > 0 || subject.inputRow >= 0;
  if (request.subject !== undefined && !subjectCounts) ignored.push('subject');
  if (request.demographics !== undefined && !engine.usesContext) ignored.push('demographics');
  return ignored;
}

function explainCandidate(engine: Engine, subject: ResolvedSubject, row: number): string {
  const { items } = engine;
  const { schema } = engine.bundle;
  const subjectRows = new Set(subject.bag.rows);
  const shared = Array.from(items.categoryRows(row)).filter((category) =>
    subjectRows.has(category),
  );
  const title = JSON.stringify(items.title(row));
  const names = JSON.stringify(shared.map((category) => schema.categories[category]!));
  return `,"title":${title},"shared_categories":${names}`;
}

function explainAnswer({ hits, filter, batchSize, stagesMs }: AnswerParts): string {
  return `,"explain":${JSON.stringify({
    plan_reason: hits.planReason,
    filter_selectivity: filter?.selectivity ?? 1,
    batch_size: batchSize,
    stages_ms: Object.fromEntries(
      Object.entries(stagesMs)
        .filter(([stage]) => stage !== 'encode')
        .map(([stage, elapsedMs]) => [stage, Math.round(elapsedMs * 1e3) / 1e3]),
    ),
  })}`;
}
