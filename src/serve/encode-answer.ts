// From hits to the body of an answer: drops excluded items, keeps k, writes JSON by hand where the loop is hot.

import type { Engine, ResolvedSubject } from './engine.ts';
import type { CompiledFilter } from './filters.ts';
import type { CandidatesRequest } from './schemas.ts';

export interface StateSummary {
  readonly status: 'fresh' | 'stale' | 'missing' | 'version_mismatch';
  readonly ageSeconds: number | null;
}

/** What an answer was computed without, and why. */
export interface Degradation {
  readonly mode: 'previous-bundle' | 'context-only' | 'popular';
  readonly reason: string;
}

export interface AnswerParts {
  readonly request: CandidatesRequest;
  readonly requestId: string;
  readonly subject: ResolvedSubject;
  readonly filter: CompiledFilter | undefined;
  /** Rows that must not be returned. */
  readonly excluded: ReadonlySet<number>;
  readonly state: StateSummary;
  readonly degraded: Degradation | undefined;
  readonly hits: {
    readonly plan: string;
    readonly planReason: string;
    /** Best first. */
    readonly slots: Int32Array;
    readonly scores: Float32Array;
  };
  readonly batchSize: number;
  readonly stagesMs: Readonly<Record<string, number>>;
}

/** @returns the CandidatesResponse as JSON, and how many candidates are in it. */
export function encodeAnswer(
  engine: Engine,
  parts: AnswerParts,
): { readonly json: string; readonly returned: number } {
  const { request, hits, excluded, state } = parts;
  let candidates = '';
  let returned = 0;
  for (let i = 0; i < hits.slots.length && returned < request.k; i++) {
    const row = hits.slots[i]!;
    if (excluded.has(row)) continue;
    // Six decimals are more than f32 arithmetic agrees on between two CPUs, and short to print.
    const score = Math.round(hits.scores[i]! * 1e6) / 1e6;
    const extra = request.explain ? explainCandidate(engine, parts.subject, row) : '';
    candidates += `${returned === 0 ? '' : ','}{"item":${engine.itemJson(row)},"score":${score}${extra}}`;
    returned++;
  }
  const degraded = parts.degraded === undefined ? 'null' : JSON.stringify(parts.degraded);
  const json =
    `{"request_id":${JSON.stringify(parts.requestId)},"bundle_id":"${engine.bundle.manifest.bundleId}",` +
    `"state":{"status":"${state.status}","age_seconds":${state.ageSeconds}},"degraded":${degraded},` +
    `"plan":"${hits.plan}","truncated":${returned < request.k},"candidates":[${candidates}]` +
    `${ignoredMembers(engine, parts)}${request.explain ? explainAnswer(parts) : ''}}`;
  return { json, returned };
}

/** Members of the request that made no difference to the scores: of a bundle without context layer, or all unknown. */
function ignoredMembers(engine: Engine, { request, subject }: AnswerParts): string {
  const ignored: string[] = [];
  const subjectCounts =
    subject.bag.rows.length > 0 || (engine.usesSubjectItem && subject.itemRow >= 0);
  if (request.subject !== undefined && !subjectCounts) ignored.push('subject');
  if (request.demographics !== undefined && !engine.usesContext) ignored.push('demographics');
  return ignored.length === 0 ? '' : `,"ignored":${JSON.stringify(ignored)}`;
}

function explainCandidate(engine: Engine, subject: ResolvedSubject, row: number): string {
  const { catalogue, schema } = engine.bundle;
  const subjectRows = new Set(subject.bag.rows);
  const shared = Array.from(catalogue.categoryRows(row)).filter((category) =>
    subjectRows.has(category),
  );
  const names = shared.map((category) => schema.categories[category]!);
  return `,"title":${JSON.stringify(catalogue.title(row))},"shared_categories":${JSON.stringify(names)}`;
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
