// The document against a stock linter's recommended rules, which hold it to the schema of OpenAPI 3.1, too.

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

test('a stock linter accepts the document, and none whose title or security is missing', async () => {
  const document = openApiDocument('1.2.3');
  assert.deepEqual(await errorsIn(document), []);
  assert.match((await errorsIn({ ...document, info: { version: '1.2.3' } })).join(), /title/);
  const paths = { '/open': { get: { operationId: 'open', summary: 'Open.', responses: {} } } };
  assert.match((await errorsIn({ ...document, paths })).join(), /security-defined/);
});
