// JSON Schemas of all bodies and frames, from the zod schemas that validate or describe them.

import { z } from 'zod';
import { deleteItemsRequest, ingestRequest, putItemsRequest } from './change-requests.ts';
import { helloFrame, subjectFrame } from './frames.ts';
import {
  batchRequest,
  candidatesRequest,
  embeddingsRequest,
  scoreRequest,
} from './query-requests.ts';
import {
  batchResponse,
  candidatesResponse,
  embeddingsResponse,
  errorBody,
  ingestResponse,
  itemResponse,
  itemsResponse,
  scoreResponse,
} from './response-schemas.ts';
import { demographics, filter, subject } from './shared-schemas.ts';

const SCHEMAS: Readonly<Record<string, z.ZodType>> = {
  Subject: subject,
  Demographics: demographics,
  Filter: filter,
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
};

/**
 * Returns the `components.schemas` of an OpenAPI 3.1 document.
 *
 * @param more - schemas of other protocols, by their name in the document.
 */
export function jsonSchemas(more: Readonly<Record<string, z.ZodType>>): Record<string, unknown> {
  const registry = z.registry<{ id: string }>();
  for (const [id, schema] of Object.entries({ ...SCHEMAS, ...more })) registry.add(schema, { id });
  const { schemas } = z.toJSONSchema(registry, {
    io: 'input',
    uri: (id) => `#/components/schemas/${id}`,
  });
  for (const schema of Object.values(schemas)) {
    delete schema.$id;
    delete schema.$schema;
  }
  // The entries of a batch are parsed one by one, so its zod schema does not name their shape.
  const request = schemas['BatchRequest']?.properties?.['requests'];
  if (typeof request === 'object')
    request.items = { $ref: '#/components/schemas/CandidatesRequest' };
  return schemas;
}
