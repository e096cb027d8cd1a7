// Routes that put, delete and describe items.

import { TandemError } from '../../../errors.ts';
import type { Client } from '../../admission/api-keys.ts';
import { describeItem } from '../../answer/item-answer.ts';
import type { ChangedItem } from '../../request/request-types.ts';
import { parseDeleteItems, parsePutItems } from '../../request/change-requests.ts';
import { parseJson } from '../json-body.ts';
import type { HttpReply, HttpRequest } from '../transport.ts';
import {
  accessErrors,
  errorResponse,
  jsonResponse,
  queryOperation,
  reference,
} from './operation.ts';
import { jsonReply, type HttpServices, type Route } from './route.ts';

const ITEM_PREFIX = '/v1/items/';

export const ITEM_ROUTES: readonly Route[] = [
  {
    method: 'PUT',
    path: '/v1/items',
    role: 'ingest',
    admits: 'entries',
    operation: queryOperation({
      operationId: 'putItems',
      summary: 'Adds or replaces items. Only with the setting freshItems.',
      body: 'PutItemsRequest',
      answer: 'ItemsResponse',
    }),
    handle: (services, request, requestId, client) =>
      changeItems(services, request, requestId, client, parsePutItems),
  },
  {
    method: 'DELETE',
    path: '/v1/items',
    role: 'ingest',
    admits: 'entries',
    operation: queryOperation({
      operationId: 'deleteItems',
      summary: 'Deletes items. Only with the setting freshItems.',
      body: 'DeleteItemsRequest',
      answer: 'ItemsResponse',
    }),
    handle: (services, request, requestId, client) =>
      changeItems(services, request, requestId, client, parseDeleteItems),
  },
  {
    method: 'GET',
    path: `${ITEM_PREFIX}{id}`,
    role: 'candidates',
    admits: 'none',
    operation: {
      operationId: 'item',
      summary: 'Returns the attributes of an item.',
      parameters: [
        {
          name: 'id',
          in: 'path',
          required: true,
          schema: { type: 'string' },
          description: 'Id of the item, percent-encoded.',
        },
      ],
      responses: {
        200: jsonResponse('The attributes of the item.', reference('ItemResponse')),
        404: errorResponse('ERR_UNKNOWN_ITEM', 'Error'),
        ...accessErrors('Error'),
      },
    },
    handle: ({ engine }, { path }) =>
      jsonReply(200, describeItem(engine(), path.slice(ITEM_PREFIX.length))),
  },
];

async function changeItems(
  { pipeline, changeItems: change }: HttpServices,
  request: HttpRequest,
  requestId: string,
  client: Client,
  parse: (value: unknown) => readonly ChangedItem[],
): Promise<HttpReply> {
  if (change === undefined)
    throw new TandemError(
      'ERR_NOT_FOUND',
      'Expected a server that accepts items, but this one does not. ' +
        'Start it with --fresh-items on.',
    );
  pipeline.admission.refuse(1, client);
  const items = parse(parseJson(request));
  pipeline.admission.admit(items.length, client);
  return jsonReply(200, JSON.stringify({ request_id: requestId, ...(await change(items)) }));
}
