// The document against the JSON schema of OpenAPI 3.1 itself, by a validator that is not ours.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Validator } from '@seriousme/openapi-schema-validator';
import { openApiDocument } from './openapi.ts';

test('a stock validator accepts the document, and no document without its title', async () => {
  const document = openApiDocument('1.2.3');
  const verdict = await new Validator().validate(structuredClone(document));
  assert.deepEqual(verdict.errors ?? [], []);
  assert.equal(verdict.valid, true);
  const broken = { ...document, info: { version: '1.2.3' } };
  assert.equal((await new Validator().validate(broken)).valid, false);
});
