import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { readPage, renderResults } from './page.ts';
import { readResults } from './results.ts';
import { ROWS } from './rows.ts';

describe('docs/reliability.md', () => {
  it('shows the figures of docs/reliability/', () => {
    assert.equal(readPage().generated, renderResults(readResults()).trim());
  });

  it('has results of every row, in both forms', () => {
    const names = ROWS.map(({ name }) => name).sort();
    const { quick, long } = readResults();
    for (const form of [quick, long]) assert.deepEqual(form.map(({ name }) => name).sort(), names);
  });
});
