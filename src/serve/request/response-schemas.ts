// Schemas of answers. They document answers in /openapi.json; the server does not validate what it
// sends.

import { z } from 'zod';
import type { CandidatesResponse, EmbeddingsResponse, ScoreResponse } from './response-types.ts';

const error = z.strictObject({
  code: z.string(),
  message: z.string(),
  field: z.string().nullable(),
  request_id: z.string(),
});

export const errorBody: z.ZodType = z.strictObject({ error }).meta({ id: 'Error' });

const answerHead = {
  request_id: z.string(),
  bundle_id: z.string(),
  state: z.strictObject({
    status: z.enum(['fresh', 'stale', 'missing', 'version_mismatch']),
    age_seconds: z.number().nullable(),
  }),
  degraded: z
    .strictObject({
      mode: z.enum(['previous-bundle', 'context-only', 'popular']),
      reason: z.string(),
    })
    .nullable(),
};

const ignored = z
  .array(z.string())
  .optional()
  .describe(
    'Members of the request that did not change the scores, because the bundle has no context ' +
      'layer or does not know the subject.',
  );

export const candidatesResponse: z.ZodType<CandidatesResponse> = z
  .strictObject({
    ...answerHead,
    plan: z.string(),
    truncated: z.boolean().describe('Whether fewer than k items passed the filter.'),
    candidates: z.array(
      z.strictObject({
        item: z.string(),
        score: z
          .number()
          .describe(
            'Cosine similarity of query embedding and item vector. A bundle with itemFrequency ' +
              'adds a boost for items in the history of the user. With plan "popular" the score ' +
              'is the number of events, divided by that of the most popular item. Higher is ' +
              'better.',
          ),
        title: z.string().optional(),
        shared_categories: z.array(z.string()).optional(),
      }),
    ),
    ignored,
    explain: z
      .strictObject({
        plan_reason: z.string(),
        filter_selectivity: z.number(),
        batch_size: z.int(),
        stages_ms: z.record(z.string(), z.number()),
      })
      .optional(),
  })
  .meta({ id: 'CandidatesResponse' });

export const embeddingsResponse: z.ZodType<EmbeddingsResponse> = z
  .strictObject({
    ...answerHead,
    embedding: z
      .array(z.number())
      .describe(
        'Query embedding, a unit vector. Its dot product with an item vector is the score, ' +
          'without the boost of itemFrequency.',
      ),
    ignored,
  })
  .meta({ id: 'EmbeddingsResponse' });

export const scoreResponse: z.ZodType<ScoreResponse> = z
  .strictObject({
    ...answerHead,
    scores: z
      .array(
        z.union([
          z.strictObject({ item: z.string(), score: z.number() }),
          z.strictObject({ item: z.string(), error }),
        ]),
      )
      .describe('A score or an error for each item, in the order of the request.'),
    ignored,
  })
  .meta({ id: 'ScoreResponse' });

export const itemResponse: z.ZodType = z
  .strictObject({
    bundle_id: z.string(),
    item: z.string(),
    title: z.string(),
    advertiser: z.string().nullable(),
    price: z.number().nullable(),
    categories: z.array(z.strictObject({ category: z.string(), confidence: z.number() })),
    countries: z
      .array(z.string())
      .describe('Countries that the item targets. An empty list means every country.'),
    recent_events: z
      .number()
      .describe('Events of the item in the last 30 days of the training data.'),
  })
  .meta({ id: 'ItemResponse' });

export const ingestResponse: z.ZodType = z
  .strictObject({
    request_id: z.string(),
    accepted: z.int().describe('New events, now on disk.'),
    duplicates: z.int().describe('Events that the server had already.'),
    encoded_users: z.int().describe('Users whose state includes their newest event.'),
    waiting_users: z
      .int()
      .describe(
        'Users whose state waits for the next batch job, because the store does not have their ' +
          'whole history or the bundle knows none of their items.',
      ),
  })
  .meta({ id: 'IngestResponse' });

export const itemsResponse: z.ZodType = z
  .strictObject({
    request_id: z.string(),
    changed: z
      .int()
      .describe('Distinct items that changed. They are on disk, and hold for every later answer.'),
    unknown_categories: z
      .array(z.string())
      .describe('Categories that the active bundle does not know.'),
  })
  .meta({ id: 'ItemsResponse' });

export const batchResponse: z.ZodType = z
  .strictObject({
    request_id: z.string(),
    results: z.array(z.union([candidatesResponse, errorBody])),
  })
  .meta({ id: 'BatchResponse' });
