// Routes for probes, monitoring and documentation.

import { TandemError } from '../../../errors.ts';
import type { HttpReply } from '../transport.ts';
import { accessErrors, plainOperation, readinessOperation } from './operation.ts';
import { jsonReply, type HttpServices, type Route } from './route.ts';

export const MONITORING_ROUTES: readonly Route[] = [
  {
    method: 'GET',
    path: '/health/live',
    role: 'open',
    admits: 'none',
    operation: plainOperation('live', 'Checks that the process runs.'),
    handle: () => jsonReply(200, '{"status":"live"}'),
  },
  {
    method: 'GET',
    path: '/health/ready',
    role: 'open',
    admits: 'none',
    operation: readinessOperation('ready', 'Error'),
    handle: (services) => readyReply(services, '{"status":"ready"}'),
  },
  {
    method: 'GET',
    path: '/metrics',
    role: 'metrics',
    admits: 'none',
    operation: {
      operationId: 'metrics',
      summary: 'Returns metrics in the Prometheus text format.',
      responses: {
        200: {
          description: 'The metrics.',
          content: { 'text/plain': { schema: { type: 'string' } } },
        },
        ...accessErrors('Error'),
      },
    },
    handle: async ({ metrics, scrape }) => ({
      status: 200,
      contentType: metrics.registry.contentType,
      body: await scrape(),
    }),
  },
  {
    method: 'GET',
    path: '/openapi.json',
    role: 'open',
    admits: 'none',
    operation: plainOperation('openapi', 'Returns this document.'),
    handle: ({ openApi }) => jsonReply(200, openApi()),
  },
  {
    method: 'GET',
    path: '/version',
    role: 'metrics',
    admits: 'none',
    operation: plainOperation(
      'version',
      'Returns the versions of program, native code and bundle.',
    ),
    handle: ({ version }) => jsonReply(200, JSON.stringify(version())),
  },
];

/** @throws TandemError ERR_DRAINING. */
export function readyReply({ isReady }: HttpServices, body: string): HttpReply {
  if (isReady()) return jsonReply(200, body);
  throw new TandemError('ERR_DRAINING', 'Expected a serving process, but this one is stopping.');
}
