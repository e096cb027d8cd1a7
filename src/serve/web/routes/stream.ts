// The path of WebSocket sessions. The transport upgrades connections; this route answers requests
// that ask for no upgrade.

import type { Role } from '../../admission/key-file.ts';
import { invalid } from '../../request/parse-body.ts';
import { accessErrors, errorResponse } from './operation.ts';
import type { Route } from './route.ts';

export const STREAM_PATH = '/v1/stream';
/** The role that the API key of an upgrade request needs. */
export const STREAM_ROLE: Role = 'candidates';

export const STREAM_ROUTE: Route = {
  method: 'GET',
  path: STREAM_PATH,
  role: STREAM_ROLE,
  admits: 'none',
  operation: {
    operationId: 'stream',
    summary:
      'Opens a WebSocket session. The client sends a HelloFrame, then SubjectFrames. Each answer ' +
      'carries the id of its subject and is a JSON or binary frame.',
    responses: {
      101: { description: 'Switching protocols.' },
      400: errorResponse('The request asks for no WebSocket upgrade.', 'Error'),
      ...accessErrors('Error'),
    },
  },
  handle: () => {
    throw invalid('Expected a WebSocket upgrade (RFC 6455) for /v1/stream.', null);
  },
  isUpgrade: true,
};
