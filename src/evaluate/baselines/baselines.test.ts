import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Subject } from '../../data/dataset.ts';
import { DEFAULT_MIXTURE, Baselines } from './baselines.ts';
import { microDataset, microRequest } from '../../../test/support/micro-dataset.ts';
import { tableProtocol, timeProtocol } from '../protocols.ts';

const DAY = 86_400;
const CUT = 60 * DAY;
// Baskets: {0,1}, {0,1,2}, {0,3}, {2}. Only the last two are in the 30 days before the cut, and
// only the last in the 7 days before.
const baskets: [number, number, number[]][] = [
  [0, 1, [0, 1]],
  [1, 2, [0, 1, 2]],
  [0, 40, [0, 3]],
  [2, 55, [2]],
];
const events = baskets.flatMap(([user, day, items]) =>
  items.map((item) => ({ user, item, time: day * DAY })),
);
const subjects: Subject[] = [
  { kind: 'item', item: 1 },
  { kind: 'interests', interests: [{ category: 'garden tools', confidence: 0.5 }] },
  { kind: 'query', query: 'Garden' },
];
const dataset = microDataset(
  4,
  events,
  subjects.map((subject, i) =>
    microRequest({ id: `r${i}`, user: 0, time: CUT, subject, positives: [0, 2, 3] }),
  ),
  CUT,
  [['kitchen'], ['kitchen'], ['garden tools'], ['garden tools']],
);
const set = timeProtocol(dataset, { form: 'all' });
const baselines = new Baselines(dataset, set);

async function scores(name: string, query = 0): Promise<number[]> {
  const out = new Float32Array(4);
  const scorer = baselines.scorers().find((each) => each.name === name);
  await scorer!.score([set.queries[query]!], out);
  return [...out];
}

function assertScores(actual: readonly number[], expected: readonly number[]): void {
  for (const [item, value] of expected.entries())
    // The tie-breaking popularity is at most 0.001, and is added once more for categories.
    assert.ok(
      Math.abs(actual[item]! - value) < 3e-3,
      `[${actual.join()}] is not [${expected.join()}]`,
    );
}

describe('baselines', () => {
  it('count baskets', () => {
    assert.deepEqual([...baselines.popularity], [3, 2, 2, 1]);
    assert.match(baselines.basketRule, /60 s/);
  });

  it('popular, by window', async () => {
    assert.deepEqual(await scores('popular, last 7 days'), [0, 0, 1, 0]);
    assert.deepEqual(await scores('popular, last 30 days'), [1, 0, 1, 1]);
  });

  it('item-item conditional: shared(s, i) / count(s)', async () => {
    assertScores(await scores('context only: item-item conditional'), [1, 0, 1 / 2, 0]);
  });

  it('item-item cosine: shared(s, i) / sqrt(count(s) count(i))', async () => {
    assertScores(await scores('context only: item-item cosine'), [2 / Math.sqrt(6), 0, 1 / 2, 0]);
  });

  it('cosine from history: the sum over its events', async () => {
    // The history of user 0 is 0, 1, 0, 3.
    const cos = (shared: number, a: number, b: number): number => shared / Math.sqrt(a * b);
    assertScores(await scores('history only: item-item cosine'), [
      cos(2, 2, 3) + cos(1, 1, 3),
      2 * cos(2, 3, 2),
      2 * cos(1, 3, 2) + cos(1, 2, 2),
      2 * cos(1, 3, 1),
    ]);
  });

  it('repeat purchases: frequency that halves in 90 days', async () => {
    const weight = (days: number): number => 2 ** (-days / 90);
    assertScores(await scores('history only: repeat purchases'), [
      weight(59) + weight(20),
      weight(59),
      0,
      weight(20),
    ]);
  });

  it('mixed counts repeat purchases only where seen items are ranked', async () => {
    const mixed = async (each: Baselines, repeat: number): Promise<Float32Array> => {
      const out = new Float32Array(4);
      const query = tableProtocol(dataset, 'validation').queries[0]!;
      await each.mixed({ ...DEFAULT_MIXTURE, repeat }).score([query], out);
      return out;
    };
    assert.notDeepEqual(await mixed(baselines, 1), await mixed(baselines, 0));
    const seenLeftOut = new Baselines(dataset, tableProtocol(dataset, 'validation'));
    assert.deepEqual(await mixed(seenLeftOut, 1), await mixed(seenLeftOut, 0));
  });

  it('subjects without an item score the popular items of their categories', async () => {
    assertScores(await scores('context only: item-item conditional', 1), [0, 0, 0.5, 0.5]);
    assertScores(await scores('context only: item-item conditional', 2), [0, 0, 1, 1]);
  });
});
