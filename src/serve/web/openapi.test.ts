// The document against the recommended rules of a stock linter, including the OpenAPI 3.1 schema.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createConfig, lintFromString } from '@redocly/openapi-core';
import { openApiDocument } from './openapi.ts';

async function errorsIn(document: object): Promise<string[]> {
  const problems = await lintFromString({
    source: JSON.stringify(document),
    config: await createConfig({ extends: ['recommended'] }),
  });
  return problems
    .filter(({ severity }) => severity === 'error')
    .map(
      ({ ruleId, message, location }) => `${ruleId} at ${location[0]?.pointer ?? ''}: ${message}`,
    );
}

test('a stock linter accepts the document, but not without title or security', async () => {
  const document = openApiDocument('1.2.3');
  assert.deepEqual(await errorsIn(document), []);
  assert.match((await errorsIn({ ...document, info: { version: '1.2.3' } })).join(), /title/);
  const paths = { '/open': { get: { operationId: 'open', summary: 'Open.', responses: {} } } };
  assert.match((await errorsIn({ ...document, paths })).join(), /security-defined/);
});
