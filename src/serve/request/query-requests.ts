// Requests that the pipeline answers: candidates, embeddings and scores, and batches of candidates.

import { z } from 'zod';
import { parseBody } from './parse-body.ts';
import {
  DEFAULT_CANDIDATES,
  MAX_BATCH_REQUESTS,
  MAX_SCORED_ITEMS,
  type CandidatesRequest,
  type EmbeddingsRequest,
  type QueryRequest,
  type ScoreRequest,
} from './request-types.ts';
import { candidateCount, demographics, filter, name, subject, surface } from './shared-schemas.ts';

const query = {
  user: name.describe('Id under which the user state was encoded; unknown users are a cold start.'),
  surface,
  subject: subject.optional(),
  demographics: demographics.optional(),
};

export const candidatesRequest: z.ZodType<Omit<CandidatesRequest, 'kind'>> = z
  .strictObject({
    ...query,
    k: candidateCount.default(DEFAULT_CANDIDATES),
    filter: filter.optional(),
    explain: z.boolean().default(false),
  })
  .meta({ id: 'CandidatesRequest' });

export const embeddingsRequest: z.ZodType<QueryRequest> = z
  .strictObject(query)
  .meta({ id: 'EmbeddingsRequest' });

export const scoreRequest: z.ZodType<Omit<ScoreRequest, 'kind'>> = z
  .strictObject({
    ...query,
    items: z.array(name).min(1).max(MAX_SCORED_ITEMS).describe('Scored in this order.'),
  })
  .meta({ id: 'ScoreRequest' });

export const batchRequest: z.ZodType<{ requests: unknown[] }> = z.strictObject({
  requests: z.array(z.unknown()).min(1).max(MAX_BATCH_REQUESTS),
});

/** @throws TandemError ERR_INVALID_REQUEST whose details.field is the path of the first wrong member. */
export function parseCandidates(value: unknown): CandidatesRequest {
  const request = parseBody(candidatesRequest, value);
  return { kind: 'candidates', ...request };
}

/** @throws TandemError ERR_INVALID_REQUEST. */
export function parseEmbeddings(value: unknown): EmbeddingsRequest {
  return { kind: 'embeddings', ...parseBody(embeddingsRequest, value) };
}

/** @throws TandemError ERR_INVALID_REQUEST. */
export function parseScore(value: unknown): ScoreRequest {
  return { kind: 'score', ...parseBody(scoreRequest, value) };
}

/** The entries, each still to be parsed, so that one wrong entry fails alone. */
export function parseBatch(value: unknown): readonly unknown[] {
  return parseBody(batchRequest, value).requests;
}
