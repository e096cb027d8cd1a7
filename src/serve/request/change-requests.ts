// Schemas of the requests that change data, and their parsers: new events, and items to put or to
// delete.

import { z } from 'zod';
import { EARLIEST_SECONDS, latestSeconds } from '../../time.ts';
import { invalid, parseBody } from './parse-body.ts';
import {
  MAX_CHANGED_ITEMS,
  MAX_INGESTED_EVENTS,
  type ChangedItem,
  type IngestedEvent,
} from './request-types.ts';
import { name, names, text } from './shared-schemas.ts';

/** An item as a client puts it. */
interface PutItem {
  readonly item: string;
  readonly title?: string | undefined;
  readonly categories?:
    readonly { readonly category: string; readonly confidence: number }[] | undefined;
  readonly advertiser?: string | undefined;
  readonly price?: number | undefined;
  readonly countries?: readonly string[] | undefined;
}

/** Bundles keep confidences in single precision, where the smallest numbers are 0. */
const confidence = z
  .number()
  .gt(0)
  .max(1)
  .refine((value) => Math.fround(value) > 0, {
    message: 'Expected a confidence above 0 in single precision (at least 1e-45)',
  });

export const ingestRequest: z.ZodType<{ events: IngestedEvent[] }> = z
  .strictObject({
    events: z
      .array(
        z.strictObject({
          user: name,
          item: name.describe(
            'An event of an item that the bundle does not know is kept for a later bundle.',
          ),
          action: name
            .optional()
            .describe(
              'Name of the action, as in the events of the training data. The default is their ' +
                'only action. Without a default, the action is unknown.',
            ),
          time: z
            .number()
            .min(EARLIEST_SECONDS)
            .optional()
            .describe('Unix seconds. The default is now.'),
          event_id: name
            .optional()
            .describe(
              'Two events with the same id are one event, so a failed request can be repeated.',
            ),
        }),
      )
      .min(1)
      .max(MAX_INGESTED_EVENTS),
  })
  .meta({ id: 'IngestRequest' });

export const putItemsRequest: z.ZodType<{ items: PutItem[] }> = z
  .strictObject({
    items: z
      .array(
        z.strictObject({
          item: name.describe('Id of the item. An existing item is replaced.'),
          title: text.optional(),
          categories: z
            .array(z.strictObject({ category: name, confidence }))
            .max(64)
            .optional()
            .describe('Categories that the item tower reads. Unknown categories are skipped.'),
          advertiser: name.optional(),
          price: z.number().optional(),
          countries: names
            .optional()
            .describe('Countries that the item targets. An empty list means every country.'),
        }),
      )
      .min(1)
      .max(MAX_CHANGED_ITEMS),
  })
  .meta({ id: 'PutItemsRequest' });

export const deleteItemsRequest: z.ZodType<{ items: string[] }> = z
  .strictObject({ items: z.array(name).min(1).max(MAX_CHANGED_ITEMS) })
  .meta({ id: 'DeleteItemsRequest' });

/** @throws TandemError ERR_INVALID_REQUEST, also for an event in the future. */
export function parseIngest(value: unknown): readonly IngestedEvent[] {
  const { events } = parseBody(ingestRequest, value);
  const latest = latestSeconds();
  for (const [i, { time }] of events.entries())
    if (time !== undefined && time > latest)
      throw invalid(
        `Expected a time up to now in Unix seconds, received ${time}. ` +
          'Divide milliseconds by 1000.',
        `events.${i}.time`,
      );
  return events;
}

/** @throws TandemError ERR_INVALID_REQUEST. */
export function parsePutItems(value: unknown): readonly ChangedItem[] {
  const { items } = parseBody(putItemsRequest, value);
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
  return parseBody(deleteItemsRequest, value).items.map((item) => ({ item }));
}
