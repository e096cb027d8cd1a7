import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { TandemError } from '../errors.ts';
import { microDataset, microRequest } from '../../test/support/micro-dataset.ts';
import { tableProtocol, timeProtocol } from './protocols.ts';

const DAY = 86_400;
/** Day 10 is the first of the test period. */
const CUT = 10 * DAY;

// User 0: items 0, 1 in training, item 2 on day 10. User 1: items 1, 3 in training. Item 4 is new
// on day 10.
const events = [
  { user: 0, item: 0, time: DAY },
  { user: 0, item: 1, time: 2 * DAY },
  { user: 0, item: 2, time: CUT + 100 },
  { user: 0, item: 4, time: CUT + 200 },
  { user: 1, item: 1, time: 3 * DAY },
  { user: 1, item: 3, time: 3 * DAY },
  { user: 1, item: 2, time: 4 * DAY },
];
const requests = [
  microRequest({ id: 'early', user: 0, time: CUT - 1, subject: { kind: 'none' }, positives: [1] }),
  microRequest({
    id: 'same-day',
    user: 0,
    time: CUT + 300,
    subject: { kind: 'item', item: 1 },
    positives: [0, 1, 3, 4],
  }),
  microRequest({
    id: 'next-day',
    user: 0,
    time: CUT + DAY,
    subject: { kind: 'item', item: 4 },
    positives: [2, 3],
  }),
  microRequest({
    id: 'known',
    user: 1,
    time: CUT + DAY,
    subject: { kind: 'item', item: 3 },
    positives: [1, 3],
  }),
  microRequest({
    id: 'stranger',
    user: -1,
    time: CUT + DAY,
    subject: { kind: 'query', query: 'q' },
    positives: [0],
  }),
];
const dataset = microDataset(6, events, requests, CUT + 50);

describe('timeProtocol', () => {
  it('knows what a batch at midnight knew, and ranks what existed before the cut', () => {
    const set = timeProtocol(dataset, { form: 'all' });
    assert.equal(set.cutSeconds, CUT);
    assert.deepEqual([...set.candidates], [1, 1, 1, 1, 0, 0]);
    assert.deepEqual([...set.trainEnd], [2, 7]);
    assert.deepEqual(
      set.queries.map(({ id, historyBegin, historyEnd, positives, excluded }) => [
        id,
        historyEnd - historyBegin,
        [...positives],
        [...excluded],
      ]),
      [
        ['same-day', 2, [0, 3], [1]],
        ['next-day', 4, [2, 3], [4]],
        ['known', 3, [1], [3]],
        ['stranger', 0, [0], []],
      ],
    );
    assert.deepEqual(set.dropped, { 'no positive left': 0 });
  });

  it('discovery: earlier items are neither positives nor candidates', () => {
    const set = timeProtocol(dataset, { form: 'discovery' });
    assert.deepEqual(
      set.queries.map(({ id, positives, excluded }) => [id, [...positives], [...excluded].sort()]),
      [
        ['same-day', [3], [0, 1]],
        ['next-day', [3], [0, 1, 2, 4]],
        ['stranger', [0], []],
      ],
    );
    assert.deepEqual(set.dropped, { 'no positive left': 1 });
  });

  it('an earlier cut makes a validation split that ends before the test', () => {
    const set = timeProtocol(dataset, {
      form: 'all',
      from: 5 * DAY,
      until: CUT,
      split: 'validation',
    });
    assert.deepEqual(
      set.queries.map(({ id }) => id),
      ['early'],
    );
  });

  it('refuses data without a cut', () => {
    assert.throws(
      () => timeProtocol(microDataset(1, []), { form: 'all' }),
      (error: TandemError) => error.code === 'ERR_DATASET_INVALID',
    );
  });
});

describe('tableProtocol', () => {
  it('holds out the last event for test and the one before for validation', () => {
    const test = tableProtocol(dataset, 'test');
    const validation = tableProtocol(dataset, 'validation');
    assert.deepEqual(
      test.queries.map(({ positives }) => [...positives]),
      [[4], [2]],
    );
    assert.deepEqual(
      validation.queries.map(({ positives }) => [...positives]),
      [[2], [3]],
    );
    assert.deepEqual(
      test.queries.map(({ excluded }) => [...excluded]),
      [
        [0, 1, 2],
        [1, 3],
      ],
    );
    assert.deepEqual([...test.trainEnd], [2, 5]);
  });
});
