// Routes of the KServe v2 protocol.

import { packageVersion } from '../../../platform/version.ts';
import {
  KSERVE_PATH,
  MODEL_PATH,
  OCTETS_TYPE,
  describeModel,
  describeServer,
  infer,
} from '../kserve/kserve.ts';
import { readyReply } from './monitoring.ts';
import {
  BYTES_SCHEMA,
  accessErrors,
  jsonResponse,
  plainOperation,
  queryOperation,
  readinessOperation,
  reference,
  type Operation,
} from './operation.ts';
import { timeoutOf } from './request-timeout.ts';
import { jsonReply, type Route } from './route.ts';

/** Name of the schema of errors in this protocol. */
const ERROR = 'KserveError';
const SERVER_METADATA = JSON.stringify(describeServer(packageVersion()));

export const KSERVE_ROUTES: readonly Route[] = [
  {
    method: 'GET',
    path: KSERVE_PATH,
    role: 'candidates',
    admits: 'none',
    operation: metadata('kserveServer', 'Returns the metadata of the server.', 'ServerMetadata'),
    handle: () => jsonReply(200, SERVER_METADATA),
  },
  {
    method: 'GET',
    path: `${KSERVE_PATH}/health/live`,
    role: 'open',
    admits: 'none',
    operation: plainOperation('kserveLive', 'Checks that the process runs.'),
    handle: () => jsonReply(200, '{"live":true}'),
  },
  {
    method: 'GET',
    path: `${KSERVE_PATH}/health/ready`,
    role: 'open',
    admits: 'none',
    operation: readinessOperation('kserveReady', ERROR),
    handle: (services) => readyReply(services, '{"ready":true}'),
  },
  {
    method: 'GET',
    path: MODEL_PATH,
    role: 'candidates',
    admits: 'none',
    operation: metadata(
      'kserveModel',
      'Returns the inputs and outputs of the query tower.',
      'ModelMetadata',
    ),
    handle: ({ engine }) => jsonReply(200, JSON.stringify(describeModel(engine()))),
  },
  {
    method: 'GET',
    path: `${MODEL_PATH}/ready`,
    role: 'open',
    admits: 'none',
    operation: readinessOperation('kserveModelReady', ERROR),
    handle: (services) => readyReply(services, '{"name":"tandem","ready":true}'),
  },
  {
    method: 'POST',
    path: `${MODEL_PATH}/infer`,
    role: 'candidates',
    admits: 'entries',
    operation: queryOperation({
      operationId: 'kserveInfer',
      summary:
        'Returns query embeddings for up to 1,024 rows. With the header ' +
        'Inference-Header-Content-Length the body is JSON followed by bytes.',
      body: 'InferRequest',
      answer: 'InferResponse',
      otherTypes: { [OCTETS_TYPE]: BYTES_SCHEMA },
      error: ERROR,
    }),
    handle: ({ pipeline }, request, requestId, client) =>
      infer(pipeline, request, requestId, client, timeoutOf(request)),
  },
];

function metadata(operationId: string, summary: string, schema: string): Operation {
  return {
    operationId,
    summary,
    responses: { 200: jsonResponse('The metadata.', reference(schema)), ...accessErrors(ERROR) },
  };
}
