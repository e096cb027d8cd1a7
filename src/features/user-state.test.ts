import assert from 'node:assert/strict';
import { test } from 'node:test';
import { historyBoosts } from './item-frequency.ts';
import { makeUserState } from './user-state.ts';

const columns = { items: [3, 1, 3, 5], actions: [0, 0, 0, 0], times: [10, 20, 30, 40] };
const events = { columns, begin: 1, end: 3 };
const state = Float32Array.of(1, 2);

test('a state says when it was encoded and which event was the newest', () => {
  const format = { dimensions: 2, type: 'int8', maxHistory: 9, frequency: undefined } as const;
  assert.deepEqual(makeUserState(state, events, format, 99), {
    state,
    dimensions: 2,
    type: 'int8',
    lastEventSeconds: 30,
    encodedAtSeconds: 99,
  });
});

test('history boosts come from the same events', () => {
  const frequency = { logWeight: 0.5, logGain: -0.5 };
  const format = { dimensions: 2, type: 'f32', maxHistory: 9, frequency } as const;
  const made = makeUserState(state, events, format, 99);
  assert.deepEqual(made.historyBoosts, historyBoosts(columns, 1, 3, 9, frequency));
  assert.deepEqual([...made.historyBoosts.items], [1, 3]);
});
