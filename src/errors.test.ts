import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { ERROR_TABLE, TandemError, nearestName, type ErrorCode } from './errors.ts';

const page = readFileSync(new URL('../docs/reference/errors.md', import.meta.url), 'utf8');

test('docs/reference/errors.md has a row and a section for each code, in order', () => {
  const rows = [...page.matchAll(/^\| \[(ERR_\w+)\]/gm)].map(([, code]) => code);
  const sections = [...page.matchAll(/^## (\w+)$/gm)].map(([, code]) => code);
  assert.deepEqual(rows, Object.keys(ERROR_TABLE));
  assert.deepEqual(sections, Object.keys(ERROR_TABLE));
});

test('docs/reference/errors.md has the status of the table, and whether to retry', () => {
  for (const [code, { status, retryable }] of Object.entries(ERROR_TABLE)) {
    const row = page.split('\n').find((line) => line.startsWith(`| [${code}]`)) ?? '';
    const cells = row.split('|').map((cell) => cell.trim());
    assert.deepEqual(cells.slice(2, 4), [String(status), retryable ? 'yes' : 'no'], code);
  }
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
