import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import type { TandemError } from '../errors.ts';
import { buildSchema } from '../features/build-schema.ts';
import { itemBoosts, itemFrequencies } from '../features/item-frequency.ts';
import { swapHistories } from './context-swap.ts';
import { evaluate, evaluationSet, type EvaluatedModel, type EvaluationReport } from './evaluate.ts';
import { microDataset, microRequest } from '../../test/support/micro-dataset.ts';
import { ModelEvaluation, ORACLE_LABEL } from './model-scorer.ts';
import type { EvaluationQuery } from './query.ts';
import { formatReport, REPORT_FILES, writeReport } from './report/report.ts';
import { staleQueries } from './staleness.ts';

const DAY = 86_400;
const CUT = 100 * DAY;
const ITEMS = 24;
const GROUPS = 4;
const USERS = 24;

// Item i belongs to group i mod 4. User u bought the items u and u + 4 (mod 24), so the history
// tells one group and the subject tells another. The positives are one item of each of these
// groups.
const names = Array.from({ length: GROUPS }, (_, group) => `group ${group}`);
const categories = Array.from({ length: ITEMS }, (_, item) => [names[item % GROUPS]!]);
const events = Array.from({ length: USERS }, (_, user) => [
  { user, item: user, time: DAY + user },
  { user, item: (user + 4) % ITEMS, time: 80 * DAY + user },
]).flat();
const requests = Array.from({ length: USERS }, (_, user) =>
  microRequest({
    id: `r${user}`,
    user,
    time: CUT + user * 1000,
    subject: { kind: 'item', item: (user + 1) % ITEMS },
    positives: [(user + 8) % ITEMS, (user + 5) % ITEMS],
  }),
);
const dataset = microDataset(ITEMS, events, requests, CUT, categories);
const schema = buildSchema({
  maxHistory: 4,
  actionNames: dataset.events.actionNames,
  itemIds: dataset.items.ids,
  titles: dataset.items.titles,
  categoryNames: dataset.items.categoryNames,
  advertisers: dataset.items.advertisers,
  prices: dataset.items.prices,
  genders: dataset.users.genders,
  countries: dataset.users.countries,
});

/**
 * A model that needs no training: one dimension per group, state = group of the last item, query =
 * state + subject.
 */
function groupModel(fusion: 'none' | 'concat'): EvaluatedModel['model'] {
  return {
    config: { embeddingWidth: GROUPS, maxHistory: 4, fusion, subjectItem: false },
    schema,
    encodeHistories(batch) {
      const states = Array.from(batch.offsets.subarray(1), (end) => {
        const state = new Float32Array(GROUPS);
        state[batch.items[end - 1]! % GROUPS] = 1;
        return state;
      });
      return Promise.resolve(states);
    },
    embedQueries(batch) {
      const queries = Float32Array.from(batch.states);
      if (fusion === 'concat')
        for (let b = 0; b < batch.count; b++)
          for (let i = batch.subjectOffsets[b]!; i < batch.subjectOffsets[b + 1]!; i++)
            queries[b * GROUPS + batch.subjectRows[i]!]! += 1;
      return Promise.resolve(queries);
    },
    frequencyWeights: () => Promise.resolve(undefined),
    itemVectors: () =>
      Promise.resolve(
        Float32Array.from({ length: ITEMS * GROUPS }, (_, i) =>
          Math.floor(i / GROUPS) % GROUPS === i % GROUPS ? 1 : 0,
        ),
      ),
    scores(queries, vectors) {
      const out = new Float32Array((queries.length / GROUPS) * ITEMS);
      for (let i = 0; i < out.length; i++)
        for (let d = 0; d < GROUPS; d++)
          out[i]! +=
            queries[Math.floor(i / ITEMS) * GROUPS + d]! * vectors[(i % ITEMS) * GROUPS + d]!;
      return Promise.resolve(out);
    },
  };
}

const recall10 = (report: EvaluationReport, name: string): number =>
  report.rows.find((row) => row.name === name)!.metrics.recall['10']!;

describe('evaluate', () => {
  it('reports baselines, context rows, and swaps that hurt', async () => {
    const report = await evaluate({
      dataset,
      protocol: 'time',
      oracle: true,
      models: [
        { name: 'both', model: groupModel('concat') },
        { name: 'history', model: groupModel('none') },
      ],
    });
    assert.equal(report.protocol.requests, USERS);
    assert.deepEqual(
      report.rows.map(({ kind }) => kind),
      [
        ...new Array<string>(7).fill('baseline'),
        'model',
        'model',
        'model',
        'leak',
        'swap',
        'swap',
        ...new Array<string>(4).fill('stale'),
        'model',
        'swap',
        ...new Array<string>(4).fill('stale'),
      ],
    );
    assert.ok(report.rows.some(({ name }) => name === `both: ${ORACLE_LABEL}`));
    assert.ok(recall10(report, 'both: context real') > recall10(report, 'both: context none'));
    assert.ok(recall10(report, 'both: contexts swapped') < recall10(report, 'both: context real'));
    assert.ok(recall10(report, 'both: histories swapped') < recall10(report, 'both: context real'));
    assert.equal(recall10(report, 'both: context none'), recall10(report, 'history: history only'));
    assert.deepEqual(Object.keys(report.rows[0]!.metrics.slices), [
      'history 1-9 events',
      'state age 7-29 days',
      'subject item',
    ]);
  });

  it('adds one ingredient of the context after the other, where the data has it', async () => {
    const ages = Float32Array.from({ length: USERS }, () => 40);
    const asked: string[] = [];
    const model = groupModel('concat');
    const { rows } = await evaluate({
      dataset: { ...dataset, users: { ...dataset.users, ages } },
      protocol: 'time',
      models: [
        {
          name: 'm',
          model: {
            ...model,
            config: { ...model.config, subjectItem: true },
            async embedQueries(batch) {
              const parts = [
                [batch.demographics[0]! > 0, 'age'],
                [batch.subjectOffsets[1]! > 0, 'categories'],
                [(batch.subjectItems?.[0] ?? -1) >= 0, 'item'],
              ] as const;
              asked.push(parts.flatMap(([has, what]) => (has ? [what] : [])).join(' + '));
              return await model.embedQueries(batch);
            },
          },
        },
      ],
    });
    assert.deepEqual(
      rows
        .filter(({ kind }) => kind === 'model')
        .slice(0, 4)
        .map(({ name }) => name),
      [
        'm: context none',
        'm: demographics only',
        'm: categories of the item in view',
        'm: context real',
      ],
    );
    assert.deepEqual(
      [...new Set(asked)],
      ['', 'age', 'age + categories', 'age + categories + item'],
    );
  });

  it('writes JSON that says how it was measured, a table, and a chart', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'tandem-report-'));
    try {
      const report = await evaluate({
        dataset,
        protocol: 'time',
        form: 'discovery',
        models: [{ name: 'both', model: groupModel('concat') }],
      });
      await writeReport(directory, report);
      const read = (name: string): string => readFileSync(join(directory, name), 'utf8');
      assert.deepEqual(JSON.parse(read(REPORT_FILES.json)), JSON.parse(JSON.stringify(report)));
      assert.equal(read(REPORT_FILES.text), `${formatReport(report)}\n`);
      assert.match(read(REPORT_FILES.text), /higher score first, then lower catalogue row/);
      for (const chart of [REPORT_FILES.recall, REPORT_FILES.slices])
        assert.match(read(chart), /^<svg[^]*both: context real/);
      assert.match(read(REPORT_FILES.staleness), /^<svg[^]*days late/);
    } finally {
      rmSync(directory, { recursive: true });
    }
  });

  it('reports the skew matrix: two versions alone are as good, mixed they are not', async () => {
    // The same model with its dimensions in another order, as another seed would give.
    const own = groupModel('concat');
    const turn = (values: Float32Array): Float32Array =>
      values.map((_, i) => values[i - (i % GROUPS) + ((i + 1) % GROUPS)]!);
    const turned: EvaluatedModel['model'] = {
      ...own,
      encodeHistories: async (batch) =>
        (await own.encodeHistories(batch)).map((state) => turn(state)),
      embedQueries: async (batch) => {
        // The head knows the space of its own encoder: it turns states back, adds the subject and
        // turns the sum.
        const back = turn(turn(turn(Float32Array.from(batch.states))));
        return turn(await own.embedQueries({ ...batch, states: back }));
      },
      frequencyWeights: () => Promise.resolve(undefined),
      itemVectors: async () => turn(await own.itemVectors()),
    };
    const models = [
      { name: 'a', model: own },
      { name: 'b', model: turned },
    ];
    const report = await evaluate({
      dataset,
      protocol: 'time',
      baselines: false,
      skew: true,
      models,
    });
    const cells = report.rows.filter(({ versions }) => versions !== undefined);
    assert.equal(new Set(cells.map(({ versions }) => JSON.stringify(versions))).size, 8);
    const pure = cells.filter(({ kind }) => kind === 'model');
    assert.equal(pure.length, 2);
    assert.deepEqual(pure[0]!.metrics, pure[1]!.metrics);
    for (const cell of cells.filter(({ kind }) => kind === 'skew'))
      assert.ok(cell.metrics.recall['10']! < pure[0]!.metrics.recall['10']!, cell.name);
    assert.match(formatReport(report), /\| a +\| +b \| +a \|/);
    assert.equal(report.baselines, null);
    await assert.rejects(
      evaluate({ dataset, protocol: 'time', skew: true, models: models.slice(1) }),
      (error: TandemError) => error.code === 'ERR_INVALID_ARGUMENT',
    );
    await assert.rejects(
      evaluate({
        dataset,
        protocol: 'time',
        skew: true,
        models: [models[0]!, { name: 'none', model: groupModel('none') }],
      }),
      /two that differ: a, none/,
    );
  });

  it('adds history boosts as of the state, and none for a cold start', async () => {
    const frequency = { logWeight: Math.log(0.5), logGain: 1 };
    const plain = groupModel('concat');
    const model = { ...plain, frequencyWeights: () => Promise.resolve(frequency) };
    const { queries } = evaluationSet({ dataset, protocol: 'time' });
    const shorter = staleQueries(queries, dataset, 30);
    assert.ok(shorter.some(({ historyEnd }, i) => historyEnd < queries[i]!.historyEnd));
    const scores = async (
      of: EvaluatedModel['model'],
      asked: readonly EvaluationQuery[],
      history: 'real' | 'cold',
    ): Promise<Float32Array> => {
      const out = new Float32Array(asked.length * ITEMS);
      const scorer = new ModelEvaluation(of, dataset).scorer({
        name: 'm',
        context: 'real',
        history,
      });
      await scorer.score(asked, out);
      return out;
    };
    for (const asked of [queries, shorter, swapHistories(queries, 1)]) {
      const expected = await scores(plain, asked, 'real');
      for (const [row, { historyBegin, historyEnd }] of asked.entries()) {
        const frequencies = itemFrequencies(dataset.events, historyBegin, historyEnd, 4);
        const { items, boosts } = itemBoosts(frequencies, frequency);
        for (const [i, item] of items.entries()) expected[row * ITEMS + item]! += boosts[i]!;
      }
      assert.deepEqual(await scores(model, asked, 'real'), expected);
      assert.deepEqual(await scores(model, asked, 'cold'), await scores(plain, asked, 'cold'));
    }
  });

  it('refuses a context that is derived from the label', () => {
    const evaluation = new ModelEvaluation(groupModel('concat'), dataset);
    assert.throws(
      () => evaluation.scorer({ name: 'cheat', context: 'oracle' }),
      (error: TandemError) =>
        error.code === 'ERR_INVALID_ARGUMENT' && error.message.includes('--oracle'),
    );
  });

  it('refuses a model that has seen the answers, or another catalogue', async () => {
    const model = groupModel('none');
    const run = (evaluated: EvaluatedModel): Promise<EvaluationReport> =>
      evaluate({ dataset, protocol: 'time', models: [evaluated] });
    await assert.rejects(
      run({ name: 'late', model, dataUntilSeconds: CUT }),
      (error: TandemError) => error.code === 'ERR_INVALID_ARGUMENT',
    );
    await assert.rejects(
      run({ name: 'greedy', model, trainingEvents: events.length + 1 }),
      (error: TandemError) => error.code === 'ERR_INVALID_ARGUMENT',
    );
    await assert.rejects(
      run({ name: 'other', model: { ...model, schema: { ...schema, catalogueDigest: 'x' } } }),
      (error: TandemError) => error.code === 'ERR_CHECKPOINT_INVALID',
    );
  });

  it('refuses a model with itemFrequency in the table protocol', async () => {
    const third = Array.from({ length: USERS }, (_, user) => ({
      user,
      item: user,
      time: 90 * DAY,
    }));
    const restocking = microDataset(ITEMS, [...events, ...third], requests, CUT, categories);
    const model = groupModel('none');
    const counting = { ...model, config: { ...model.config, itemFrequency: true } };
    const run = (protocol: 'table' | 'time'): Promise<EvaluationReport> =>
      evaluate({
        dataset: restocking,
        protocol,
        models: [{ name: 'counting', model: counting }],
      });
    await assert.rejects(run('table'), (error: TandemError) => error.code === 'ERR_CONFIG_INVALID');
    await run('time');
  });
});
