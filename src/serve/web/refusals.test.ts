import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { TandemError } from '../../errors.ts';
import { Refusals } from './refusals.ts';
import { errorReply } from './error-reply.ts';

const id = fc.stringMatching(/^[A-Za-z0-9._:-]{1,128}$/);
const path = fc.constantFrom('/v1/candidates', '/v1/score', '/v2/models/tandem/infer');
const error = fc
  .string({ unit: 'grapheme' })
  .map((text) => new TandemError('ERR_OVERLOADED', text));

test('a refusal is the reply that the error alone would get', () => {
  const alone = (at: string, what: unknown, requestId: string) =>
    at.startsWith('/v2/')
      ? errorReply(what, requestId, ({ message }) => ({ error: message }))
      : errorReply(what, requestId);
  fc.assert(
    fc.property(
      fc.array(error, { minLength: 1, maxLength: 3 }),
      fc.infiniteStream(fc.tuple(path, id)),
      (errors, asked) => {
        const refusals = new Refusals(alone);
        for (const what of errors)
          for (let i = 0; i < 5; i++) {
            const [at, requestId] = asked.next().value as [string, string];
            const { headers, ...expected } = alone(at, what, requestId);
            const received = refusals.reply(at, what, requestId);
            assert.deepEqual(
              { ...received, headers: { ...received.headers, 'X-Request-Id': requestId } },
              { ...expected, headers },
            );
          }
      },
    ),
  );
});
