// Routes that the pipeline answers: candidates, one request or a batch, embeddings and scores.

import type { Client } from '../../admission/api-keys.ts';
import { BINARY_TYPE } from '../../answer/encode-binary.ts';
import type { Endpoint } from '../../answer/endpoint.ts';
import { BINARY_CANDIDATES, CANDIDATES, EMBEDDINGS, SCORE } from '../../answer/endpoints.ts';
import type { Answer } from '../../answer/pending.ts';
import type { Pipeline } from '../../pipeline.ts';
import { describeError } from '../../request/error-body.ts';
import type { PipelineRequest } from '../../request/request-types.ts';
import { parseBatch } from '../../request/query-requests.ts';
import { parseJson } from '../json-body.ts';
import type { HttpReply, HttpRequest } from '../transport.ts';
import { BYTES_SCHEMA, queryOperation } from './operation.ts';
import { timeoutOf } from './request-timeout.ts';
import { jsonReply, type HttpServices, type LoggedReply, type Route } from './route.ts';

export const CANDIDATE_ROUTES: readonly Route[] = [
  {
    method: 'POST',
    path: '/v1/candidates',
    role: 'candidates',
    admits: 'one',
    operation: queryOperation({
      operationId: 'candidates',
      summary: 'Returns candidates for one request.',
      body: 'CandidatesRequest',
      answer: 'CandidatesResponse',
      otherTypes: { [BINARY_TYPE]: BYTES_SCHEMA },
    }),
    handle: ({ pipeline }, request, requestId) => {
      const endpoint = acceptsBinary(request) ? BINARY_CANDIDATES : CANDIDATES;
      return answerOne(pipeline, endpoint, request, requestId);
    },
  },
  {
    method: 'POST',
    path: '/v1/candidates:batch',
    role: 'candidates',
    admits: 'entries',
    operation: queryOperation({
      operationId: 'candidatesBatch',
      summary:
        'Returns candidates for up to 1,024 requests. A request that fails has an error in its ' +
        'place.',
      body: 'BatchRequest',
      answer: 'BatchResponse',
    }),
    handle: answerBatch,
  },
  {
    method: 'POST',
    path: '/v1/embeddings',
    role: 'candidates',
    admits: 'one',
    operation: queryOperation({
      operationId: 'embeddings',
      summary: 'Returns the query embedding of a request.',
      body: 'EmbeddingsRequest',
      answer: 'EmbeddingsResponse',
    }),
    handle: ({ pipeline }, request, requestId) =>
      answerOne(pipeline, EMBEDDINGS, request, requestId),
  },
  {
    method: 'POST',
    path: '/v1/score',
    role: 'candidates',
    admits: 'one',
    operation: queryOperation({
      operationId: 'score',
      summary:
        'Returns exact scores of the given items. An unknown item has an error in its place.',
      body: 'ScoreRequest',
      answer: 'ScoreResponse',
    }),
    handle: ({ pipeline }, request, requestId) => answerOne(pipeline, SCORE, request, requestId),
  },
];

async function answerOne<R extends PipelineRequest>(
  pipeline: Pipeline,
  endpoint: Endpoint<R, string | Uint8Array>,
  request: HttpRequest,
  requestId: string,
): Promise<LoggedReply> {
  const answer = await pipeline.answer(
    endpoint,
    () => parseJson(request),
    requestId,
    request,
    timeoutOf(request),
  );
  return {
    status: 200,
    contentType: endpoint.contentType,
    body: answer.body,
    headers: { 'Server-Timing': serverTiming(answer) },
    facts: answer.facts,
  };
}

async function answerBatch(
  { pipeline }: HttpServices,
  request: HttpRequest,
  requestId: string,
  client: Client,
): Promise<HttpReply> {
  pipeline.admission.refuse(1, client);
  const timeoutMs = timeoutOf(request);
  const entries = parseBatch(parseJson(request));
  pipeline.admission.admit(entries.length, client);
  const results = await Promise.all(
    entries.map(async (entry, i) => {
      const entryId = `${requestId}:${i}`;
      try {
        return (await pipeline.answer(CANDIDATES, () => entry, entryId, request, timeoutMs)).body;
      } catch (error) {
        return JSON.stringify({ error: describeError(error, entryId).body });
      }
    }),
  );
  const body = `{"request_id":${JSON.stringify(requestId)},"results":[${results.join()}]}`;
  return jsonReply(200, body);
}

/** A client that names the binary type wants it, so quality values are not compared. */
function acceptsBinary({ headers }: HttpRequest): boolean {
  const { accept } = headers;
  return accept
    .split(',')
    .some((range) => range.split(';')[0]!.trim().toLowerCase() === BINARY_TYPE);
}

/** @see https://www.w3.org/TR/server-timing/ : durations in milliseconds. */
function serverTiming({ stagesMs }: Answer): string {
  let text = '';
  for (const stage in stagesMs) {
    const ms = stagesMs[stage as keyof typeof stagesMs];
    text += `${text === '' ? '' : ', '}${stage};dur=${ms.toFixed(3)}`;
  }
  return text;
}
