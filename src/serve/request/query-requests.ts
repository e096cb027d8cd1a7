// Schemas of the requests that the pipeline answers, and their parsers: candidates, embeddings,
// scores, and batches of candidates.

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
  user: name.describe('Id of the user whose state was encoded. An unknown user is a cold start.'),
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
    items: z
      .array(name)
      .min(1)
      .max(MAX_SCORED_ITEMS)
      .describe('Ids of the items to score. The scores have the same order.'),
  })
  .meta({ id: 'ScoreRequest' });

export const batchRequest: z.ZodType<{ requests: unknown[] }> = z.strictObject({
  requests: z.array(z.unknown()).min(1).max(MAX_BATCH_REQUESTS),
});

/** @throws TandemError ERR_INVALID_REQUEST. */
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

/**
 * Returns the entries unparsed, so that an invalid entry fails alone.
 *
 * @throws TandemError ERR_INVALID_REQUEST.
 */
export function parseBatch(value: unknown): readonly unknown[] {
  return parseBody(batchRequest, value).requests;
}
