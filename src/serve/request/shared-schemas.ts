// Schemas of the members that several requests and frames have.

import { z } from 'zod';
import {
  MAX_CANDIDATES,
  type Filter,
  type RequestDemographics,
  type RequestSubject,
} from './request-types.ts';

export const name: z.ZodString = z.string().min(1).max(256);
export const names: z.ZodArray<z.ZodString> = z.array(name).max(1000);

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
    query: z.string().max(1024).optional().describe('A search query as the user typed it.'),
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
