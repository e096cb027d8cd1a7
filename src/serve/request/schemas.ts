// Shapes of every request body and frame: the one source of validation and of /openapi.json.
// Parsing on the request path goes through parseCandidates() and parseFrame(), nowhere else.

import { z } from 'zod';
import { MAX_REQUEST_TIMEOUT_MS } from '../../config.ts';
import { TandemError, nearestName } from '../../errors.ts';
import { KSERVE_SCHEMAS } from './kserve-schemas.ts';
import {
  DEFAULT_CANDIDATES,
  MAX_BATCH_REQUESTS,
  MAX_CANDIDATES,
  MAX_CHANGED_ITEMS,
  MAX_INGESTED_EVENTS,
  MAX_SCORED_ITEMS,
  type CandidatesRequest,
  type ChangedItem,
  type EmbeddingsRequest,
  type Frame,
  type HelloFrame,
  type IngestedEvent,
  type QueryRequest,
  type ScoreRequest,
  type SubjectFrame,
} from './request-types.ts';

/** How far the clock of a sender may be ahead of ours. */
const CLOCK_SKEW_SECONDS = 300;

const name = z.string().min(1).max(256);
const names = z.array(name).max(1000);

const subject = z
  .strictObject({
    item: name.optional().describe('An item of the catalogue.'),
    interests: z
      .array(z.strictObject({ category: name, confidence: z.number().min(0).max(1) }))
      .max(64)
      .optional()
      .describe(
        'Categories with confidences; the strongest few are read, unknown ones are skipped.',
      ),
    query: z.string().max(1024).optional().describe('A search query as typed.'),
  })
  .refine((value) => Object.values(value).filter((member) => member !== undefined).length === 1, {
    message: 'Expected exactly one of "item", "interests" and "query"',
  })
  .describe('What the user is looking at. Leave it out to ask from history alone.')
  .meta({ id: 'Subject', minProperties: 1, maxProperties: 1 });

const demographics = z
  .strictObject({
    age: z.number().min(0).max(150).optional(),
    country: name.optional(),
    gender: name.optional(),
  })
  .meta({ id: 'Demographics' });

const filter = z
  .strictObject({
    countries: names
      .optional()
      .describe('Items that target any of these countries, or every country.'),
    advertisers: z
      .strictObject({
        in: names.optional(),
        out: names.optional(),
        max_each: z
          .int()
          .min(1)
          .optional()
          .describe('Candidates of one advertiser at most; the best of each are kept.'),
      })
      .optional(),
    categories: z.strictObject({ any: names.optional(), none: names.optional() }).optional(),
    exclude_items: names.optional(),
    min_price: z.number().optional().describe('Items without a known price do not pass.'),
    max_price: z.number().optional().describe('Items without a known price do not pass.'),
  })
  .describe('Every clause must hold. With k items that pass, k candidates are returned.')
  .meta({ id: 'Filter' });

const surface = z.enum(['related', 'search']);
const k = z.int().min(1).max(MAX_CANDIDATES);

const query = {
  user: name.describe('Id under which the user state was encoded; unknown users are a cold start.'),
  surface,
  subject: subject.optional(),
  demographics: demographics.optional(),
};

const candidatesRequest = z
  .strictObject({
    ...query,
    k: k.default(DEFAULT_CANDIDATES),
    filter: filter.optional(),
    explain: z.boolean().default(false),
  })
  .meta({ id: 'CandidatesRequest' });

const embeddingsRequest = z.strictObject(query).meta({ id: 'EmbeddingsRequest' });

const scoreRequest = z
  .strictObject({
    ...query,
    items: z.array(name).min(1).max(MAX_SCORED_ITEMS).describe('Scored in this order.'),
  })
  .meta({ id: 'ScoreRequest' });

const batchRequest = z.strictObject({
  requests: z.array(z.unknown()).min(1).max(MAX_BATCH_REQUESTS),
});

const helloFrame = z
  .strictObject({
    type: z.literal('hello'),
    user: name,
    demographics: demographics.optional(),
    filter: filter.optional(),
    k: k.optional(),
    encoding: z
      .enum(['json', 'binary'])
      .default('json')
      .describe('Of answers; errors are JSON in both.'),
    deltas: z
      .boolean()
      .default(false)
      .describe('Answers may be changes against the answer before them on the socket.'),
  })
  .meta({ id: 'HelloFrame' });

const subjectFrame = z
  .strictObject({
    type: z.literal('subject'),
    id: z.union([z.string().min(1).max(128), z.int()]),
    surface,
    subject: subject.optional(),
    k: k.optional(),
    timeout_ms: z
      .int()
      .min(1)
      .max(MAX_REQUEST_TIMEOUT_MS)
      .optional()
      .describe('How long the answer is worth waiting for; later it is ERR_DEADLINE_EXCEEDED.'),
    explain: z.boolean().default(false),
  })
  .meta({ id: 'SubjectFrame' });

const errorBody = z
  .strictObject({
    error: z.strictObject({
      code: z.string(),
      message: z.string(),
      field: z.string().nullable(),
      request_id: z.string(),
    }),
  })
  .meta({ id: 'Error' });

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

const candidatesResponse = z
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

const embeddingsResponse = z
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

const scoreResponse = z
  .strictObject({
    ...answerHead,
    scores: z
      .array(
        z.union([
          z.strictObject({ item: z.string(), score: z.number() }),
          z.strictObject({ item: z.string(), error: errorBody.shape.error }),
        ]),
      )
      .describe('One per item, in the order of the request.'),
    ignored,
  })
  .meta({ id: 'ScoreResponse' });

const itemResponse = z
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

const ingestRequest = z
  .strictObject({
    events: z
      .array(
        z.strictObject({
          user: name,
          item: name.describe('An item that the bundle does not know is kept for a later one.'),
          action: name.optional().describe('As the events of the training data name it.'),
          time: z.number().min(0).optional().describe('Unix seconds; by default now.'),
          event_id: name
            .optional()
            .describe('A second event of this id is the first one again: send again what failed.'),
        }),
      )
      .min(1)
      .max(MAX_INGESTED_EVENTS),
  })
  .meta({ id: 'IngestRequest' });

const ingestResponse = z
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

const putItemsRequest = z
  .strictObject({
    items: z
      .array(
        z.strictObject({
          item: name.describe('Its id; an item that is there is replaced.'),
          title: z.string().max(1024).optional(),
          categories: z
            .array(z.strictObject({ category: name, confidence: z.number().gt(0).max(1) }))
            .max(64)
            .optional()
            .describe('What the item tower goes by; unknown ones are skipped.'),
          advertiser: name.optional(),
          price: z.number().optional(),
          countries: names.optional().describe('Countries that it targets; none means every one.'),
        }),
      )
      .min(1)
      .max(MAX_CHANGED_ITEMS),
  })
  .meta({ id: 'PutItemsRequest' });

const deleteItemsRequest = z
  .strictObject({ items: z.array(name).min(1).max(MAX_CHANGED_ITEMS) })
  .meta({ id: 'DeleteItemsRequest' });

const itemsResponse = z
  .strictObject({
    request_id: z.string(),
    changed: z.int().describe('Distinct items that are on disk, and in every answer from now on.'),
    unknown_categories: z
      .array(z.string())
      .describe('Categories that the served bundle does not know.'),
  })
  .meta({ id: 'ItemsResponse' });

const batchResponse = z
  .strictObject({
    request_id: z.string(),
    results: z.array(z.union([candidatesResponse, errorBody])),
  })
  .meta({ id: 'BatchResponse' });

/** @throws TandemError ERR_INVALID_REQUEST whose details.field is the path of the first wrong member. */
export function parseCandidates(value: unknown): CandidatesRequest {
  const request = parseBody<Omit<CandidatesRequest, 'kind'>>(candidatesRequest, value);
  return { kind: 'candidates', ...request };
}

/** @throws TandemError ERR_INVALID_REQUEST. */
export function parseEmbeddings(value: unknown): EmbeddingsRequest {
  return { kind: 'embeddings', ...parseBody<QueryRequest>(embeddingsRequest, value) };
}

/** @throws TandemError ERR_INVALID_REQUEST. */
export function parseScore(value: unknown): ScoreRequest {
  return { kind: 'score', ...parseBody<Omit<ScoreRequest, 'kind'>>(scoreRequest, value) };
}

/** The entries, each still to be parsed, so that one wrong entry fails alone. */
export function parseBatch(value: unknown): readonly unknown[] {
  return parseBody<{ requests: unknown[] }>(batchRequest, value).requests;
}

/** @throws TandemError ERR_INVALID_REQUEST, also for a time that has not come yet. */
export function parseIngest(value: unknown): readonly IngestedEvent[] {
  const { events } = parseBody<{ events: IngestedEvent[] }>(ingestRequest, value);
  const latest = Date.now() / 1000 + CLOCK_SKEW_SECONDS;
  for (const [i, { time }] of events.entries())
    if (time !== undefined && time > latest)
      throw invalid(
        `Expected a time up to now in Unix seconds, received ${time}. Milliseconds would be 1000 times as much.`,
        `events.${i}.time`,
      );
  return events;
}

/** @throws TandemError ERR_INVALID_REQUEST. */
export function parsePutItems(value: unknown): readonly ChangedItem[] {
  const { items } = parseBody<z.infer<typeof putItemsRequest>>(putItemsRequest, value);
  return items.map(({ item, title, categories, advertiser, price, countries }) => ({
    item,
    record: {
      title: title ?? '',
      categories: categories ?? [],
      advertiser: advertiser ?? '',
      price: price ?? null,
      countries: countries ?? [],
    },
  }));
}

/** @throws TandemError ERR_INVALID_REQUEST. */
export function parseDeleteItems(value: unknown): readonly ChangedItem[] {
  return parseBody<{ items: string[] }>(deleteItemsRequest, value).items.map((item) => ({ item }));
}

/** @throws TandemError ERR_INVALID_REQUEST. */
export function parseFrame(value: unknown): Frame {
  const type: unknown = (value as { type?: unknown } | null | undefined)?.type;
  if (type === 'hello') return parseBody<HelloFrame>(helloFrame, value);
  if (type === 'subject') return parseBody<SubjectFrame>(subjectFrame, value);
  throw invalid('Expected "hello" or "subject" for type.', 'type');
}

/** JSON Schema of the named bodies, for the `components.schemas` of an OpenAPI 3.1 document. */
export function jsonSchemas(): Record<string, unknown> {
  const registry = z.registry<{ id: string }>();
  const inputs = { Subject: subject, Demographics: demographics, Filter: filter };
  for (const [id, schema] of Object.entries({
    ...inputs,
    CandidatesRequest: candidatesRequest,
    EmbeddingsRequest: embeddingsRequest,
    ScoreRequest: scoreRequest,
    BatchRequest: batchRequest,
    HelloFrame: helloFrame,
    SubjectFrame: subjectFrame,
    CandidatesResponse: candidatesResponse,
    EmbeddingsResponse: embeddingsResponse,
    ScoreResponse: scoreResponse,
    ItemResponse: itemResponse,
    BatchResponse: batchResponse,
    IngestRequest: ingestRequest,
    IngestResponse: ingestResponse,
    PutItemsRequest: putItemsRequest,
    DeleteItemsRequest: deleteItemsRequest,
    ItemsResponse: itemsResponse,
    Error: errorBody,
    ...KSERVE_SCHEMAS,
  }))
    registry.add(schema, { id });
  const { schemas } = z.toJSONSchema(registry, {
    io: 'input',
    uri: (id) => `#/components/schemas/${id}`,
  });
  for (const schema of Object.values(schemas)) {
    delete schema.$id;
    delete schema.$schema;
  }
  const request = schemas['BatchRequest']?.properties?.['requests'];
  if (typeof request === 'object')
    request.items = { $ref: '#/components/schemas/CandidatesRequest' };
  return schemas;
}

/** An ERR_INVALID_REQUEST about `field` (null for the body as a whole). */
export function invalid(message: string, field: string | null): TandemError {
  return new TandemError('ERR_INVALID_REQUEST', message, { details: { field } });
}

/** @throws TandemError ERR_INVALID_REQUEST whose details.field is the path of the first wrong member. */
export function parseBody<T>(schema: z.ZodType<T>, value: unknown): T {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  // A misspelled member usually comes with a complaint about the missing one: the misspelling says more.
  const issues = parsed.error.issues;
  const issue = issues.find(({ code }) => code === 'unrecognized_keys') ?? issues[0]!;
  const path = issue.path.map(String);
  if (issue.code === 'unrecognized_keys') {
    const given = issue.keys[0]!;
    const known = membersAt(schema, issue.path);
    const near = nearestName(given, known);
    const hint = near === undefined ? `Known: ${known.join(', ')}.` : `Did you mean "${near}"?`;
    const shown = given.slice(0, 64);
    throw invalid(
      `Expected only known fields, received "${shown}". ${hint}`,
      [...path, shown].join('.'),
    );
  }
  const field = path.join('.');
  throw invalid(`${describe(issue)} for ${field || 'the body'}.`, field || null);
}

function describe(issue: z.core.$ZodIssue): string {
  switch (issue.code) {
    case 'too_small':
      return `Expected at least ${issue.minimum}${unitOf(issue.origin, issue.minimum)}`;
    case 'too_big':
      return `Expected at most ${issue.maximum}${unitOf(issue.origin, issue.maximum)}`;
    case 'invalid_value':
      return `Expected one of ${issue.values.map((value) => JSON.stringify(value)).join(', ')}`;
    default:
      return issue.message.replace(/^Invalid input: expected/, 'Expected');
  }
}

function unitOf(origin: string, count: number | bigint): string {
  if (origin === 'string') return count === 1 ? ' character' : ' characters';
  if (origin === 'array') return count === 1 ? ' entry' : ' entries';
  return '';
}

/** Names of the members of the object at `path`. */
function membersAt(schema: z.ZodType, path: readonly PropertyKey[]): string[] {
  let at: z.core.$ZodType = schema;
  const unwrap = (): void => {
    while (at instanceof z.ZodOptional || at instanceof z.ZodDefault) at = at.unwrap();
  };
  for (const step of path) {
    unwrap();
    if (at instanceof z.ZodObject)
      at = (at.shape as Record<string, z.core.$ZodType>)[String(step)]!;
    else if (at instanceof z.ZodArray) at = at.element;
  }
  unwrap();
  return at instanceof z.ZodObject ? Object.keys(at.shape) : [];
}
