import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { makeShop, shopDataset } from '../../test/support/shop.ts';
import { evaluationSet } from './evaluate.ts';
import { searchQueries } from './search.ts';

const dataset = shopDataset(makeShop({ items: 64, users: 60, seed: 2 }));
const { queries } = evaluationSet({ dataset, protocol: 'time' });

describe('searchQueries', () => {
  it('takes logged queries as they are, and then those alone', () => {
    const logged = queries.filter(({ subject }) => subject.kind === 'query');
    assert.ok(logged.length > 0 && logged.length < queries.length);
    assert.deepEqual(searchQueries(queries, dataset), {
      label: 'search (logged queries)',
      queries: logged,
    });
  });

  it('makes them of the titles of items in view where none was logged, and changes nothing else', () => {
    const viewed = queries.filter(({ subject }) => subject.kind === 'item');
    const found = searchQueries(viewed, dataset)!;
    assert.match(found.label, /synthetic/);
    assert.equal(found.queries.length, viewed.length);
    for (const [i, query] of found.queries.entries()) {
      const { subject } = viewed[i]!;
      assert.ok(subject.kind === 'item');
      const title = dataset.items.titles[subject.item]!;
      assert.deepEqual(query, { ...viewed[i]!, subject: { kind: 'query', query: title } });
    }
    const untitled = {
      ...dataset,
      items: { ...dataset.items, titles: dataset.items.ids.map(() => '') },
    };
    assert.equal(searchQueries(viewed, untitled), undefined);
  });
});
