// The route that accepts new events.

import { TandemError } from '../../../errors.ts';
import { parseIngest } from '../../request/change-requests.ts';
import { parseJson } from '../json-body.ts';
import { queryOperation } from './operation.ts';
import { jsonReply, type Route } from './route.ts';

export const EVENT_ROUTES: readonly Route[] = [
  {
    method: 'POST',
    path: '/v1/events',
    role: 'ingest',
    admits: 'entries',
    operation: queryOperation({
      operationId: 'ingest',
      summary:
        'Appends events to user histories on disk and encodes the users again. Only with the ' +
        'setting freshEvents.',
      body: 'IngestRequest',
      answer: 'IngestResponse',
    }),
    handle: async ({ ingest, pipeline }, request, requestId, client) => {
      if (ingest === undefined)
        throw new TandemError(
          'ERR_NOT_FOUND',
          'Expected a server that accepts events, but this one does not. ' +
            'Start it with --fresh-events on.',
        );
      pipeline.admission.refuse(1, client);
      const events = parseIngest(parseJson(request));
      pipeline.admission.admit(events.length, client);
      const report = await ingest(events);
      return jsonReply(200, JSON.stringify({ request_id: requestId, ...report }));
    },
  },
];
