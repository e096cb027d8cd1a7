import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { makeShop, SHOP_TRAINING, shopDataset } from '../../test/support/shop.ts';
import { useBackend } from '../backend/select.ts';
import { buildCatalogue } from '../bundle/catalogue.ts';
import { catalogueItemFeatures } from '../bundle/weights/item-features.ts';
import { buildSchema } from '../features/build-schema.ts';
import { TwoTower } from '../model/network/two-tower.ts';
import { evaluate, evaluationSet } from './evaluate.ts';
import { formatReport } from './report/report.ts';
import { searchQueries } from './search.ts';

const dataset = shopDataset(makeShop({ items: 64, users: 60, seed: 2 }));
const { queries } = evaluationSet({ dataset, protocol: 'time' });

describe('searchQueries', () => {
  it('takes only logged queries if there are any', () => {
    const logged = queries.filter(({ subject }) => subject.kind === 'query');
    assert.ok(logged.length > 0 && logged.length < queries.length);
    assert.deepEqual(searchQueries(queries, dataset), {
      label: 'search (logged queries)',
      queries: logged,
    });
  });

  it('makes queries from titles of items in view if none was logged', () => {
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

  it('are a row of the report, of their requests alone', async () => {
    await useBackend();
    const { items, users, events } = dataset;
    const schema = buildSchema({
      maxHistory: 8,
      actionNames: events.actionNames,
      itemIds: items.ids,
      titles: items.titles,
      categoryNames: items.categoryNames,
      advertisers: items.advertisers,
      prices: items.prices,
      genders: users.genders,
      countries: users.countries,
    });
    const catalogue = buildCatalogue(items, schema.categories, new Float32Array(items.count));
    const model = new TwoTower(
      SHOP_TRAINING.model,
      schema,
      catalogueItemFeatures(schema, catalogue),
      { seed: 1 },
    );
    const report = await evaluate({
      dataset,
      protocol: 'time',
      models: [{ name: 'untrained', model }],
    });
    model.dispose();
    const row = report.rows.find(({ name }) => name === 'untrained: search (logged queries)')!;
    const logged = queries.filter(({ subject }) => subject.kind === 'query').length;
    assert.equal(row.metrics.count, logged);
    assert.deepEqual(
      Object.keys(row.metrics.slices).filter((name) => name.startsWith('subject')),
      ['subject query'],
    );
    const whole = report.rows.find(({ name }) => name === 'untrained: context real')!;
    assert.equal(row.metrics.recall['100'], whole.metrics.slices['subject query']!.recall['100']);
    // The table of a slice has only the rows with requests in it.
    const [, viewed = ''] = formatReport(report).split('## subject item');
    assert.match(viewed, /untrained: context real/);
    assert.doesNotMatch(viewed.split('\n## ')[0]!, /search/);
  });
});
