// Schemas of answers. Nothing validates an answer; the schemas are the documentation in
// /openapi.json.

import { z } from 'zod';

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
    'Members of the request that made no difference to the scores: the bundle has no context layer, or knows nothing of the subject.',
  );

export const candidatesResponse: z.ZodType = z
  .strictObject({
    ...answerHead,
    plan: z.string(),
    truncated: z.boolean().describe('Fewer than k items passed the filter.'),
    candidates: z.array(
      z.strictObject({
        item: z.string(),
        score: z
          .number()
          .describe(
            'Cosine of query embedding and item vector, plus what a bundle with itemFrequency adds for items that the user had; in plan "popular" events over those of the most popular item. Higher is better.',
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

export const embeddingsResponse: z.ZodType = z
  .strictObject({
    ...answerHead,
    embedding: z
      .array(z.number())
      .describe(
        'Unit vector of the query: its dot product with an item vector is the score, but for what itemFrequency adds.',
      ),
    ignored,
  })
  .meta({ id: 'EmbeddingsResponse' });

export const scoreResponse: z.ZodType = z
  .strictObject({
    ...answerHead,
    scores: z
      .array(
        z.union([
          z.strictObject({ item: z.string(), score: z.number() }),
          z.strictObject({ item: z.string(), error }),
        ]),
      )
      .describe('One per item, in the order of the request.'),
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
    countries: z.array(z.string()).describe('Countries that it targets; none means every one.'),
    recent_events: z.number().describe('Events of the last 30 days of the training data.'),
  })
  .meta({ id: 'ItemResponse' });

export const ingestResponse: z.ZodType = z
  .strictObject({
    request_id: z.string(),
    accepted: z.int().describe('Events that are kept, on disk.'),
    duplicates: z.int().describe('Events that were there already.'),
    encoded_users: z.int().describe('Users whose state has seen their newest event.'),
    waiting_users: z
      .int()
      .describe('Users whose state waits for the next batch job: their whole history is not here.'),
  })
  .meta({ id: 'IngestResponse' });

export const itemsResponse: z.ZodType = z
  .strictObject({
    request_id: z.string(),
    changed: z.int().describe('Distinct items that are on disk, and in every answer from now on.'),
    unknown_categories: z
      .array(z.string())
      .describe('Categories that the served bundle does not know.'),
  })
  .meta({ id: 'ItemsResponse' });

export const batchResponse: z.ZodType = z
  .strictObject({
    request_id: z.string(),
    results: z.array(z.union([candidatesResponse, errorBody])),
  })
  .meta({ id: 'BatchResponse' });
