import assert from 'node:assert/strict';
import {
  cpSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import type { TandemError } from '../errors.ts';
import { packageRoot } from '../package-root.ts';
import { readExperiment } from './experiment-file.ts';
import { readResults } from './result.ts';
import { writeResultsPage } from './results-page.ts';
import { runExperiment } from './run-experiment.ts';

const folder = mkdtempSync(join(tmpdir(), 'tandem-experiment-'));
const at = (name: string): string => join(folder, name);
after(() => {
  rmSync(folder, { recursive: true });
});

const SMALL = {
  about: 'A small world.',
  dataset: { world: { users: 60, items: 1000, seed: 3 } },
  protocol: 'time',
  forms: ['all', 'discovery'],
  train: {
    usersPerStep: 8,
    positivesPerUser: 2,
    steps: 4,
    validateEvery: 2,
    model: {
      embeddingWidth: 8,
      blocks: 1,
      heads: 1,
      feedForwardWidth: 8,
      maxHistory: 4,
      actionWidth: 2,
      subjectWidth: 4,
      demographicWidth: 2,
      contextWidth: 8,
      hiddenWidth: 8,
    },
  },
  rows: [
    { name: 'history', train: { model: { fusion: 'none' } } },
    { name: 'dropout-0', train: { contextDropout: 0 } },
    { name: 'dropout-0.5', train: { contextDropout: 0.5 } },
  ],
  seeds: [1, 2],
  sweep: 'contextDropout',
  published: [{ name: 'A | paper', recallAt10: 0.25, ndcgAt10: 0.125 }],
};

function write(name: string, value: unknown): string {
  writeFileSync(at(name), JSON.stringify(value));
  return at(name);
}

describe('experiment files', () => {
  it('of the repository are valid', () => {
    const directory = join(packageRoot(), 'experiments');
    const files = readdirSync(directory).filter((name) => name.endsWith('.json'));
    assert.ok(files.length > 0);
    for (const file of files) readExperiment(join(directory, file));
  });

  it('are checked to the last setting of the last row', () => {
    const refused: readonly [object, RegExp][] = [
      [{ ...SMALL, protocl: 'time' }, /protocl/],
      [{ ...SMALL, seeds: [] }, /seeds/],
      [{ ...SMALL, rows: [...SMALL.rows, { name: 'bad', train: { steps: 0 } }] }, /steps/],
      [{ ...SMALL, rows: [...SMALL.rows, { name: 'bad', train: { stepz: 1 } }] }, /stepz/],
      [{ ...SMALL, rows: [SMALL.rows[0], SMALL.rows[0]] }, /two rows have one name/],
      [{ ...SMALL, rows: [{ name: '../x' }] }, /rows\.0\.name/],
      [{ ...SMALL, sweep: 'loss' }, /sweep: expected a setting that is a number/],
    ];
    for (const [value, message] of refused)
      assert.throws(
        () => readExperiment(write('refused.json', value)),
        (error: TandemError) => error.code === 'ERR_CONFIG_INVALID' && message.test(error.message),
        String(message),
      );
    writeFileSync(at('broken.json'), '{');
    assert.throws(() => readExperiment(at('broken.json')), /broken\.json: JSON/);
  });

  it('lay the settings of a row over those of the file over the defaults', () => {
    const { rows, train, seeds } = readExperiment(write('small.json', SMALL));
    assert.equal(train.model?.embeddingWidth, 8);
    assert.deepEqual(seeds, [1, 2]);
    assert.deepEqual(rows[1]!.train, { contextDropout: 0 });
  });
});

describe('tandem experiment', () => {
  const places = { sources: folder, work: at('work'), results: at('results') };

  it('runs every row and seed, and writes the same result when run again or anew', async () => {
    const experiment = readExperiment(write('small.json', SMALL));
    const result = await runExperiment(experiment, places);
    const written = readFileSync(at('results/small.json'), 'utf8');
    assert.deepEqual(
      result.runs.map(({ row, seed }) => `${row} ${seed}`),
      [1, 2].flatMap((seed) => SMALL.rows.map(({ name }) => `${name} ${seed}`)),
    );
    const [history, dropout0] = result.runs;
    assert.equal(history!.config.model.fusion, 'none');
    assert.equal(history!.config.model.embeddingWidth, 8);
    assert.equal(dropout0!.config.contextDropout, 0);
    assert.equal(result.evaluations.length, 2);
    assert.ok(result.evaluations[0]!.rows.every(({ kind }) => kind === 'baseline'));
    for (const run of result.runs) {
      assert.equal(run.evaluations.length, 2);
      assert.ok(run.evaluations.flat().every(({ kind }) => kind !== 'baseline'));
    }

    // A second run trains and ranks nothing, and changes nothing.
    const kept = filesUnder(at('work'));
    await runExperiment(experiment, places);
    assert.equal(readFileSync(at('results/small.json'), 'utf8'), written);
    assert.deepEqual(filesUnder(at('work')), kept);

    // As if killed before the last runs were evaluated: the rest is made again, with the same
    // result.
    for (const name of readdirSync(at('work/small')))
      if (name.includes('seed2')) rmSync(join(at('work/small'), name), { recursive: true });
    await runExperiment(experiment, places);
    assert.equal(readFileSync(at('results/small.json'), 'utf8'), written);
  });

  it('a changed row is trained beside the old one', async () => {
    const before = readdirSync(at('work/small')).length;
    const changed = {
      ...SMALL,
      rows: [{ name: 'history', train: { temperature: 0.5, model: { fusion: 'none' } } }],
      seeds: [1],
      sweep: undefined,
    };
    cpSync(at('results'), at('other-results'), { recursive: true });
    await runExperiment(readExperiment(write('small.json', changed)), {
      ...places,
      results: at('other-results'),
    });
    assert.equal(readdirSync(at('work/small')).length, before + 1);
  });

  it('writes a page with published numbers, baselines, means over seeds, and curves', async () => {
    await writeResultsPage(at('docs/results.md'), places.results);
    const page = readFileSync(at('docs/results.md'), 'utf8');
    const [result] = readResults(places.results);
    const recalls = result!.runs
      .filter(({ row }) => row === 'history')
      .map(({ evaluations }) =>
        evaluations[0]!.find(({ name }) => name === 'history: history only')!,
      )
      .map(({ metrics }) => metrics.recall['10']!);
    const mean = (recalls[0]! + recalls[1]!) / 2;
    // The sample deviation of two values is their distance divided by sqrt 2.
    const deviation = Math.abs(recalls[0]! - recalls[1]!) / Math.SQRT2;
    const cell = (value: number): string => value.toFixed(4).replace(/^0/, '');
    const spread = `${cell(mean)} ± ${cell(deviation)}`.replaceAll('.', '\\.');
    assert.match(
      page,
      new RegExp(`\\| history: history only +\\| +model \\| +2 \\| +${spread} \\|`),
    );
    assert.match(page, /\| A \\\| paper +\| published \| +- \| +\.2500 \| +- \| +- \| +\.1250 \|/);
    assert.match(page, /\*\*Simulation/);
    assert.match(page, /popular, last 30 days/);
    for (const chart of ['sweep', 'staleness']) {
      assert.ok(page.includes(`](results/small-${chart}.svg)`));
      assert.match(readFileSync(at(`docs/results/small-${chart}.svg`), 'utf8'), /^<svg/);
    }
  });
});

/** Paths with their modification times. */
function filesUnder(directory: string): string[] {
  return readdirSync(directory, { recursive: true, encoding: 'utf8' })
    .sort()
    .map((name) => `${name} ${statSync(join(directory, name)).mtimeMs}`);
}
