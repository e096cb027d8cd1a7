// Checks that a synthetic world can measure the gains that we claim for a model. With the world's
// true parameters, context must gain as much as we claim, history must help, and no label may leak.
// No model is trained.

import { DAY_SECONDS } from '../time.ts';
import { Catalogue } from './catalogue.ts';
import { SIMULATION_NOTICE } from './generate.ts';
import * as law from './law.ts';
import { Population, type Session } from './population.ts';
import type { Profile } from './profile.ts';
import { DOMAIN, RandomStream } from './random.ts';
import { RANKINGS, TruthScorer, type Ranking } from './truth-scorer.ts';

const CUTOFFS = [10, 50, 100] as const;
const SLICES = ['intent-differs', 'intent-same'] as const;
/** Users are independent, so a sample of them stands for a large world. */
const MAX_USERS = 20_000;
const MAX_REQUESTS_PER_SLICE = 1_000;
/** Largest number of scores per slice: a large catalogue is checked with fewer requests. */
const MAX_SCORES = 3e8;
const POPULAR_DAYS = 30;
const ZIPF_RANKS = 16;
/** With fewer conversions, the exponent cannot be measured. */
const MIN_ZIPF_EVENTS = 5_000;
/**
 * In a smaller world, a leaf has hardly more than ten items, and taste has nothing to choose from.
 */
const MIN_ITEMS_FOR_TASTE = 2_000;
/**
 * In a larger world, the best ten of a leaf's thousands of items cannot hold 15 % of the
 * conversions, whatever is known.
 */
const MAX_ITEMS_FOR_CEILING = 100_000;

export interface SelfCheckRow {
  readonly slice: string;
  readonly ranking: string;
  readonly requests: number;
  /** Mean over requests of hits / min(positives, 10). */
  readonly recallAt10: number;
  readonly recallAt50: number;
  readonly recallAt100: number;
}

export interface SelfCheckTest {
  readonly name: string;
  readonly expected: string;
  readonly value: number;
  readonly passed: boolean;
}

export interface SelfCheckReport {
  readonly simulation: true;
  readonly notice: string;
  readonly world: string;
  readonly users: number;
  readonly events: number;
  readonly rows: readonly SelfCheckRow[];
  readonly tests: readonly SelfCheckTest[];
  /** Tests that a world of this size cannot answer, each with the reason. */
  readonly skipped: readonly string[];
  readonly passed: boolean;
}

interface Sampled {
  readonly user: number;
  readonly number: number;
}

interface Survey {
  users: number;
  events: number;
  testRequests: number;
  differing: number;
  /**
   * Positives that are the subject, repeated, not offered to the user, or outside of the 90 days.
   */
  violations: number;
  /** [N] conversions of the last POPULAR_DAYS before the test. */
  readonly popularity: Uint32Array;
  /** [ZIPF_RANKS] conversions by rank within the leaf. */
  readonly byRank: Float64Array;
  readonly samples: readonly Sampled[][];
}

/**
 * Simulates a world's users, or a sample of them, and checks the world; seconds in a small world.
 */
export function selfCheckWorld(size: law.WorldSize): SelfCheckReport {
  law.checkWorldSize(size);
  const catalogue = new Catalogue(size.seed, size.items);
  const population = new Population(catalogue);
  const wanted = Math.max(
    20,
    Math.min(MAX_REQUESTS_PER_SLICE, Math.floor(MAX_SCORES / (size.items * RANKINGS.length))),
  );
  const survey = surveyUsers(population, Math.min(size.users, MAX_USERS), wanted);
  const rows = SLICES.flatMap((slice, index) =>
    measure(population, survey.popularity, slice, survey.samples[index]!),
  );
  const { tests, skipped } = judge(catalogue, survey, rows);
  return {
    simulation: true,
    notice: SIMULATION_NOTICE,
    world: law.worldName(size),
    users: survey.users,
    events: survey.events,
    rows,
    tests,
    skipped,
    passed: tests.every(({ passed }) => passed),
  };
}

function surveyUsers(population: Population, users: number, wanted: number): Survey {
  const { catalogue } = population;
  const stream = new RandomStream(population.seed, DOMAIN.sample, 0);
  const seen = SLICES.map(() => 0);
  const samples: Sampled[][] = SLICES.map(() => []);
  const survey: Survey = {
    users,
    events: 0,
    testRequests: 0,
    differing: 0,
    violations: 0,
    popularity: new Uint32Array(catalogue.count),
    byRank: new Float64Array(ZIPF_RANKS),
    samples,
  };
  for (let user = 0; user < users; user++) {
    const { profile, sessions } = population.simulate(user);
    for (const session of sessions) {
      survey.events += session.positives.length;
      survey.violations += countViolations(catalogue, profile, session);
      const offset = catalogue.leafOffsets[session.leaf]!;
      if (catalogue.leafSize(session.leaf) >= 2 * ZIPF_RANKS)
        for (const item of session.positives)
          if (item - offset < ZIPF_RANKS) survey.byRank[item - offset]!++;
      if (session.time < law.TEST_FROM) {
        if (session.time >= law.TEST_FROM - POPULAR_DAYS * DAY_SECONDS)
          for (const item of session.positives) survey.popularity[item]!++;
        continue;
      }
      survey.testRequests++;
      if (session.differs) survey.differing++;
      const slice = session.differs ? 0 : 1;
      // Reservoir sampling: every test request of the slice has the same chance.
      const at =
        samples[slice]!.length < wanted ? samples[slice]!.length : stream.below(seen[slice]! + 1);
      seen[slice]!++;
      if (at < wanted) samples[slice]![at] = { user, number: session.number };
    }
  }
  return survey;
}

function countViolations(catalogue: Catalogue, profile: Profile, session: Session): number {
  let violations = 0;
  const distinct = new Set(session.positives);
  if (distinct.size !== session.positives.length || distinct.size === 0) violations++;
  if (distinct.has(session.subject)) violations++;
  if (session.subject < 0 === (session.query === '')) violations++;
  for (const item of distinct) {
    if (!catalogue.offeredIn(item, profile.country)) violations++;
    if (catalogue.leafOf(item) !== session.leaf) violations++;
  }
  if (session.time < law.WORLD_START || session.conversionTimes.at(-1)! >= law.WORLD_END)
    violations++;
  if (session.conversionTimes[0]! <= session.time) violations++;
  return violations;
}

function measure(
  population: Population,
  popularity: Uint32Array,
  slice: string,
  samples: readonly Sampled[],
): SelfCheckRow[] {
  const sums = RANKINGS.map(() => CUTOFFS.map(() => 0));
  const scorer = new TruthScorer(population, popularity);
  for (const { user, number } of samples) {
    const { profile, sessions } = population.simulate(user);
    const session = sessions[number]!;
    scorer.prepare(profile, sessions, number);
    for (const [r, ranking] of RANKINGS.entries()) {
      const ranks = ranksOf(scorer.score(ranking), session);
      for (const [c, cutoff] of CUTOFFS.entries())
        sums[r]![c]! +=
          ranks.filter((rank) => rank < cutoff).length / Math.min(ranks.length, cutoff);
    }
  }
  return RANKINGS.map((ranking, r) => {
    const [recallAt10, recallAt50, recallAt100] = sums[r]!.map(
      (sum) => sum / Math.max(1, samples.length),
    );
    return {
      slice,
      ranking,
      requests: samples.length,
      recallAt10: recallAt10!,
      recallAt50: recallAt50!,
      recallAt100: recallAt100!,
    };
  });
}

/**
 * Rank of each positive among all items but the subject; 0 = first. Ties count against the
 * positive.
 */
function ranksOf(scores: Float64Array, session: Session): number[] {
  const targets = session.positives.map((item) => scores[item]!);
  const ranks = targets.map(() => -1);
  for (let item = 0; item < scores.length; item++) {
    if (item === session.subject) continue;
    const score = scores[item]!;
    for (let i = 0; i < targets.length; i++) if (score >= targets[i]!) ranks[i]!++;
  }
  return ranks;
}

function judge(
  catalogue: Catalogue,
  survey: Survey,
  rows: readonly SelfCheckRow[],
): { tests: SelfCheckTest[]; skipped: string[] } {
  const recall = (slice: string, ranking: Ranking): number =>
    rows.find((row) => row.slice === slice && row.ranking === ranking)!.recallAt10;
  const [differs, same] = SLICES;
  // The smallest recall that a sample can show is one hit in all requests. The divisor must not be
  // 0.
  const withoutContext = Math.max(
    recall(differs, 'history only'),
    recall(differs, 'history only, told the slice'),
    recall(differs, 'popular'),
    1 / Math.max(1, survey.samples[0]!.length),
  );
  const tests: SelfCheckTest[] = [];
  const skipped: string[] = [];
  const between = (name: string, value: number, low: number, high: number): void => {
    tests.push({
      name,
      expected: `${low} to ${high}`,
      value,
      passed: value >= low && value <= high,
    });
  };
  const atLeast = (name: string, value: number, low: number): void => {
    tests.push({ name, expected: `at least ${low}`, value, passed: value >= low });
  };
  const ceiling = recall(differs, 'intent and history (ceiling)');
  if (catalogue.count <= MAX_ITEMS_FOR_CEILING)
    atLeast('ceiling of Recall@10, intent differs', ceiling, 0.15);
  else skipped.push(`ceiling of Recall@10: meant for at most ${MAX_ITEMS_FOR_CEILING} items`);
  atLeast('ceiling / best without context, Recall@10, intent differs', ceiling / withoutContext, 3);
  atLeast(
    'observed context / best without context, Recall@10, intent differs',
    recall(differs, 'observed context and history') / withoutContext,
    3,
  );
  if (catalogue.count >= MIN_ITEMS_FOR_TASTE)
    atLeast(
      'ceiling / intent only, Recall@10, intent differs: what history adds',
      ceiling / Math.max(recall(differs, 'intent only'), 1e-9),
      1.1,
    );
  else skipped.push(`what history adds: needs at least ${MIN_ITEMS_FOR_TASTE} items`);
  atLeast(
    'history only - popular, Recall@10, intent same',
    recall(same, 'history only') - recall(same, 'popular'),
    0,
  );
  between(
    'share of test requests whose intent differs',
    survey.differing / Math.max(1, survey.testRequests),
    0.4,
    0.6,
  );
  // Draws without replacement, the factor of repeats and country targeting flatten the
  // distribution.
  if (survey.byRank.reduce((sum, count) => sum + count, 0) >= MIN_ZIPF_EVENTS)
    between(
      'measured / true exponent of popularity within a leaf',
      zipfExponent(survey.byRank) / law.ITEM_ZIPF_EXPONENT,
      0.6,
      1.25,
    );
  else
    skipped.push(
      `exponent of popularity: needs ${MIN_ZIPF_EVENTS} events at the head of large leaves`,
    );
  between('violations of invariants (leaks, targeting, times)', survey.violations, 0, 0);
  between(
    'items with confidences out of (0, 1] or out of order',
    countBadConfidences(catalogue),
    0,
    0,
  );
  return { tests, skipped };
}

/** The exponent of a Zipf law: minus the slope of ln count over ln rank, by least squares. */
function zipfExponent(counts: Float64Array): number {
  const xs = Array.from(counts, (_, index) => Math.log(index + 1));
  const ys = Array.from(counts, (count) => Math.log(Math.max(count, 0.5)));
  const meanX = xs.reduce((sum, x) => sum + x, 0) / xs.length;
  const meanY = ys.reduce((sum, y) => sum + y, 0) / ys.length;
  const covariance = xs.reduce((sum, x, i) => sum + (x - meanX) * (ys[i]! - meanY), 0);
  return -covariance / xs.reduce((sum, x) => sum + (x - meanX) ** 2, 0);
}

function countBadConfidences(catalogue: Catalogue): number {
  let bad = 0;
  const step = Math.max(1, Math.floor(catalogue.count / 100_000));
  for (let item = 0; item < catalogue.count; item += step) {
    const { categories, confidences } = catalogue.describe(item);
    const fine =
      categories.length === confidences.length &&
      new Set(categories).size === categories.length &&
      confidences.every(
        (value, i) => value > 0 && value <= 1 && (i === 0 || value <= confidences[i - 1]!),
      );
    if (!fine) bad++;
  }
  return bad;
}

/** Formats a report as text for a terminal. */
export function formatSelfCheck(report: SelfCheckReport): string {
  const lines = [
    report.notice,
    `${report.world}: ${report.users} users checked, ${report.events} events`,
    '',
    `${'slice'.padEnd(15)} ${'ranked by'.padEnd(31)} ${'requests'.padStart(8)}` +
      '   R@10   R@50  R@100',
    ...report.rows.map(
      (row) =>
        `${row.slice.padEnd(15)} ${row.ranking.padEnd(31)} ${String(row.requests).padStart(8)}` +
        [row.recallAt10, row.recallAt50, row.recallAt100]
          .map((value) => `  ${value.toFixed(3)}`)
          .join(''),
    ),
    '',
    ...report.tests.map(
      ({ name, expected, value, passed }) =>
        `${passed ? 'pass' : 'FAIL'}  ${name}: ${Number(value.toFixed(3))}, expected ${expected}`,
    ),
    ...report.skipped.map((reason) => `skip  ${reason}`),
  ];
  return `${lines.join('\n')}\n`;
}
