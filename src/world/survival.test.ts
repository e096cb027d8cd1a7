import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import type { Dataset } from '../data/dataset.ts';
import { readDataset } from '../data/read-dataset.ts';
import { openWorldDelivery } from './auction.ts';
import { generateWorld } from './generate.ts';
import type { TandemError } from '../errors.ts';
import { microDataset } from '../../test/support/micro-dataset.ts';
import { timeProtocol } from '../evaluate/protocols.ts';
import type { EvaluationSet, Scorer } from '../evaluate/query.ts';
import { formatSurvival, SURVIVAL_FILES, writeSurvival } from './survival-report.ts';
import { simulateSurvival, SURVIVAL_METRICS, type SurvivalReport } from './survival.ts';

const folder = mkdtempSync(join(tmpdir(), 'tandem-survival-'));
const K = 6;
let dataset: Dataset;
let set: EvaluationSet;

before(async () => {
  const outputDirectory = join(folder, 'world');
  await generateWorld({ users: 120, items: 1000, seed: 5, outputDirectory });
  dataset = await readDataset(outputDirectory);
  set = timeProtocol(dataset, { form: 'all' });
});
after(() => {
  rmSync(folder, { recursive: true });
});

/** A generator whose scores are a function of (request, item). */
function generator(name: string, scoreOf: (request: number, item: number) => number): Scorer {
  return {
    name,
    score(queries, out): void {
      const items = dataset.items.count;
      for (const [i, query] of queries.entries()) {
        const request = set.queries.findIndex(({ id }) => id === query.id);
        for (let item = 0; item < items; item++) out[i * items + item] = scoreOf(request, item);
      }
    },
  };
}

function simulate(generators: readonly Scorer[]): Promise<SurvivalReport> {
  return simulateSurvival({ dataset, set, generators, candidates: K, seed: 1 });
}

/** The true relevances, by which an ideal generator would rank. */
function truth(): Float64Array[] {
  const delivery = openWorldDelivery(dataset)!;
  const all = Int32Array.from({ length: dataset.items.count }, (_, slot) => slot);
  const requests = new Map(dataset.requests.map((request) => [request.id, request]));
  return set.queries.map(({ id }) => delivery.deliver(requests.get(id)!, all).relevances);
}

describe('survival simulation', () => {
  it('sums the outcomes of the auction over requests', async () => {
    const byNumber = generator('by number', (request, item) => -((item * 7 + request) % 1000));
    const { generators, requests } = await simulate([byNumber]);
    const delivery = openWorldDelivery(dataset)!;
    const byId = new Map(dataset.requests.map((request) => [request.id, request]));
    let survivors = 0;
    let slots = 0;
    let relevance = 0;
    let medians = 0;
    let spend = 0;
    let revenue = 0;
    for (const [i, query] of set.queries.entries()) {
      const top = Array.from(set.candidates.keys())
        .filter((item) => set.candidates[item] === 1 && !query.excluded.includes(item))
        .sort((a, b) => ((a * 7 + i) % 1000) - ((b * 7 + i) % 1000) || a - b)
        .slice(0, K);
      const outcome = delivery.deliver(byId.get(query.id)!, top);
      slots += outcome.delivered.length;
      for (const [row, won] of outcome.survived.entries()) {
        survivors += won;
        relevance += won * outcome.relevances[row]!;
      }
      const sorted = [...outcome.relevances].sort((a, b) => a - b);
      medians += (sorted[2]! + sorted[3]!) / 2;
      spend += outcome.spend;
      revenue += outcome.revenue;
    }
    const expected = [
      survivors / (K * requests),
      survivors / slots,
      medians / requests,
      relevance / survivors,
      revenue / requests,
      revenue / spend,
    ];
    for (const [i, metric] of SURVIVAL_METRICS.entries()) {
      const { value, interval } = generators[0]![metric];
      assert.ok(Math.abs(value - expected[i]!) <= 1e-9 * expected[i]!, metric);
      assert.ok(interval.low <= value && value <= interval.high, metric);
    }
  });

  it('ranks an omniscient generator above a blind one, the same way at every call', async () => {
    const relevances = truth();
    const generators = [
      generator('nothing', (request, item) => -((item * 7 + request) % 1000)),
      generator('everything', (request, item) => relevances[request]![item]!),
    ];
    const report = await simulate(generators);
    const [nothing, everything] = report.generators;
    assert.equal(nothing!.lift, null);
    for (const metric of ['deliveredShare', 'slotShare', 'medianRelevance'] as const) {
      assert.ok(everything![metric].interval.low > nothing![metric].interval.high, metric);
      assert.ok(everything!.lift![metric].interval.low > 1, metric);
      assert.ok(
        Math.abs(
          everything!.lift![metric].value - everything![metric].value / nothing![metric].value,
        ) < 1e-12,
      );
    }
    assert.deepEqual(await simulate(generators), report);
  });

  it('gives the same generator a lift of exactly 1, because resamples are paired', async () => {
    const relevances = truth();
    const twice = ['a', 'b'].map((name) =>
      generator(name, (request, item) => relevances[request]![item]!),
    );
    const { generators } = await simulate(twice);
    for (const metric of SURVIVAL_METRICS)
      assert.deepEqual(generators[1]!.lift![metric], {
        value: 1,
        interval: { low: 1, high: 1 },
      });
  });

  it('says in JSON and Markdown that it is a simulation', async () => {
    const report = await simulate([generator('any', (_request, item) => item)]);
    writeSurvival(folder, report);
    const read = (name: string): string => readFileSync(join(folder, name), 'utf8');
    assert.deepEqual(JSON.parse(read(SURVIVAL_FILES.json)), report);
    assert.equal(read(SURVIVAL_FILES.text), `${formatSurvival(report)}\n`);
    assert.match(read(SURVIVAL_FILES.text), /Simulation/);
  });

  it('refuses a dataset whose auction is not known', async () => {
    const other = microDataset(2, [{ user: 0, item: 0, time: 1 }]);
    await assert.rejects(
      simulateSurvival({ dataset: other, set, generators: [], candidates: K, seed: 1 }),
      (error: TandemError) =>
        error.code === 'ERR_DATASET_INVALID' && error.message.includes('tandem world'),
    );
  });
});
