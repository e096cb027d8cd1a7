import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ActionRows } from './action-rows.ts';

const rows = new ActionRows({ actions: ['buy', 'view'] });

test('a known action has its position + 1, any other has row 0', () => {
  assert.deepEqual(
    ['buy', 'view', 'click', ''].map((name) => rows.row(name)),
    [1, 2, 0, 0],
  );
});

test('a column of events is looked up by the names of its own actions', () => {
  const events = { actions: Int32Array.of(2, 0, 1, 2), actionNames: ['click', 'buy', 'view'] };
  assert.deepEqual(rows.column(events), Int32Array.of(2, 0, 1, 2));
  const others = { ...events, actionNames: ['view', 'click', 'buy'] };
  assert.deepEqual(rows.column(others), Int32Array.of(1, 2, 0, 1));
});
