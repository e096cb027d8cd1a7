// Schemas of the members that several requests and frames have.

import { z } from 'zod';
import { MAX_ID_BYTES, MAX_TEXT_BYTES, readId, readText, type Refusal } from '../../ids.ts';
import {
  MAX_CANDIDATES,
  type Filter,
  type RequestDemographics,
  type RequestSubject,
} from './request-types.ts';

/** An id or a name, read as imports read it. */
export const name: z.ZodType<string> = readBy(readId, { minLength: 1, maxLength: MAX_ID_BYTES });
export const names: z.ZodType<string[]> = z.array(name).max(1000);
/** A title or a search query, read as imports read it. */
export const text: z.ZodType<string> = readBy(readText, { maxLength: MAX_TEXT_BYTES });

/**
 * A schema that reads with a function of ids.ts.
 *
 * @param length - for the JSON Schema, which counts characters. The function counts bytes.
 */
function readBy(
  read: (value: unknown) => string | Refusal,
  length: { readonly minLength?: number; readonly maxLength: number },
): z.ZodType<string> {
  return z
    .preprocess((value, context) => {
      const found = read(value);
      if (typeof found === 'string') return found;
      const isEmpty = typeof value === 'string' && value.trim() === '';
      if (isEmpty) context.addIssue({ code: 'too_small', origin: 'string', minimum: 1 });
      else
        context.addIssue({
          code: 'custom',
          message: 'Expected text or an integer',
          params: {
            received: found.received,
            remedy: typeof value === 'number' ? 'Send it as text.' : '',
          },
        });
      return z.NEVER;
    }, z.any())
    .meta({ anyOf: [{ type: 'string', ...length }, { type: 'integer' }] });
}

export const subject: z.ZodType<RequestSubject> = z
  .strictObject({
    item: name.optional().describe('An item of the catalogue.'),
    interests: z
      .array(z.strictObject({ category: name, confidence: z.number().min(0).max(1) }))
      .max(64)
      .optional()
      .describe(
        'Categories with confidences. The strongest few are read; unknown categories are skipped.',
      ),
    query: text.optional().describe('A search query as the user typed it.'),
  })
  .refine((value) => Object.values(value).filter((member) => member !== undefined).length === 1, {
    message: 'Expected exactly one of "item", "interests" and "query"',
  })
  .describe('What the user is looking at. Without a subject, candidates follow from history alone.')
  .meta({ id: 'Subject', minProperties: 1, maxProperties: 1 });

export const demographics: z.ZodType<RequestDemographics> = z
  .strictObject({
    age: z.number().min(0).max(150).optional(),
    country: name.optional(),
    gender: name.optional(),
  })
  .meta({ id: 'Demographics' });

export const filter: z.ZodType<Filter> = z
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
          .describe('The most candidates of one advertiser. The best of each advertiser are kept.'),
      })
      .optional(),
    categories: z.strictObject({ any: names.optional(), none: names.optional() }).optional(),
    exclude_items: names.optional(),
    min_price: z.number().optional().describe('An item without a known price does not pass.'),
    max_price: z.number().optional().describe('An item without a known price does not pass.'),
  })
  .describe('Every clause must hold. If at least k items pass, the answer has k candidates.')
  .meta({ id: 'Filter' });

export const surface: z.ZodEnum<{ related: 'related'; search: 'search' }> = z.enum([
  'related',
  'search',
]);
export const candidateCount: z.ZodInt = z.int().min(1).max(MAX_CANDIDATES);
