// Schemas of the frames that a WebSocket client sends, and their parser.

import { z } from 'zod';
import { MAX_REQUEST_TIMEOUT_MS } from '../../config.ts';
import { invalid, parseBody } from './parse-body.ts';
import type { Frame, HelloFrame, SubjectFrame } from './request-types.ts';
import { candidateCount, demographics, filter, name, subject, surface } from './shared-schemas.ts';

export const helloFrame: z.ZodType<HelloFrame> = z
  .strictObject({
    type: z.literal('hello'),
    user: name,
    demographics: demographics.optional(),
    filter: filter.optional(),
    k: candidateCount.optional(),
    encoding: z
      .enum(['json', 'binary'])
      .default('json')
      .describe('Encoding of answers. Errors are always JSON.'),
    deltas: z
      .boolean()
      .default(false)
      .describe('Whether an answer may be a change against the answer before it on the socket.'),
  })
  .meta({ id: 'HelloFrame' });

export const subjectFrame: z.ZodType<SubjectFrame> = z
  .strictObject({
    type: z.literal('subject'),
    id: z.union([z.string().min(1).max(128), z.int()]),
    surface,
    subject: subject.optional(),
    k: candidateCount.optional(),
    timeout_ms: z
      .int()
      .min(1)
      .max(MAX_REQUEST_TIMEOUT_MS)
      .optional()
      .describe(
        'Timeout of the subject. A subject that is not started in time gets ERR_DEADLINE_EXCEEDED.',
      ),
    explain: z.boolean().default(false),
  })
  .meta({ id: 'SubjectFrame' });

/** @throws TandemError ERR_INVALID_REQUEST. */
export function parseFrame(value: unknown): Frame {
  const type: unknown = (value as { type?: unknown } | null | undefined)?.type;
  if (type === 'hello') return parseBody(helloFrame, value);
  if (type === 'subject') return parseBody(subjectFrame, value);
  throw invalid('Expected "hello" or "subject" for type.', 'type');
}
