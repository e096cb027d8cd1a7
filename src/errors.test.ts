import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { ERROR_TABLE, TandemError, nearestName, type ErrorCode } from './errors.ts';

const page = readFileSync(new URL('../docs/errors.md', import.meta.url), 'utf8');
const sections = new Map(
  page
    .split(/^## /m)
    .slice(1)
    .map((section) => [section.slice(0, section.indexOf('\n')).trim(), section] as const),
);

test('docs/errors.md has one section for each code, in the order of the table', () => {
  assert.deepEqual([...sections.keys()], Object.keys(ERROR_TABLE));
});

test('docs/errors.md states status and whether to try again as the table does', () => {
  for (const [code, { status, retryable }] of Object.entries(ERROR_TABLE))
    assert.match(
      sections.get(code) ?? '',
      new RegExp(`Status ${status}, ${retryable ? 'retryable' : 'not retryable'}\\.`),
      code,
    );
});

test('an error carries what the table says of its code', () => {
  const cause = new Error('cause');
  const error = new TandemError('ERR_OVERLOADED', 'Expected room.', { cause, details: { a: 1 } });
  const code: ErrorCode = 'ERR_OVERLOADED';
  assert.equal(error.status, ERROR_TABLE[code].status);
  assert.equal(error.retryable, true);
  assert.equal(error.cause, cause);
  assert.deepEqual(error.details, { a: 1 });
});

test('the nearest name is near, or there is none', () => {
  assert.equal(nearestName('subjct', ['surface', 'subject', 'user']), 'subject');
  assert.equal(nearestName('qqqqqq', ['surface', 'subject', 'user']), undefined);
});
