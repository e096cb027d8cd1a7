// Doubles the rate until no target keeps up, then narrows down each target's highest rate that
// keeps the p99 limit. The quietest round of a rate decides whether it keeps the limit: other work
// on a shared machine only adds to latencies, of both sides.

import { setTimeout as sleep } from 'node:timers/promises';
import { say, summarise } from '../harness.ts';
import type { Child, Generator } from './child.ts';
import type { LoadOutcome, Protocol } from './load.ts';

export interface Target {
  readonly name: string;
  readonly protocol: Protocol;
  readonly server: Child;
}

export interface SweepPlan {
  readonly rates: readonly number[];
  readonly rounds: number;
  readonly seconds: number;
  /** How often the gap between the highest rate that was served and the next one is halved. */
  readonly refinements: number;
}

/** The largest p99 of a rate that counts as served. */
export const SERVED_P99_MS = 10;
/**
 * A rate is past the knee when its p99 is above this, or fewer than KNEE_SHARE of the requests are
 * answered.
 */
export const KNEE_P99_MS = 100;
const KNEE_SHARE = 0.97;
const WARM_UP_SECONDS = 0.5;
const QUIET_MS = 200;

/** The highest rates that a target served; 0 for none. */
export interface Served {
  /** The highest rate with a p99 of at most SERVED_P99_MS. */
  readonly promised: number;
  /** The highest rate that is not past the knee. */
  readonly any: number;
}

type Outcomes = ReadonlyMap<Target, readonly LoadOutcome[]>;

/**
 * Finds the highest rates of all targets.
 *
 * @param onRate - called with the outcomes of all targets at each rate of the plan.
 * @returns the highest rates that each target served.
 */
export async function sweep(
  generator: Generator,
  targets: readonly Target[],
  plan: SweepPlan,
  onRate: (rate: number, outcomes: Outcomes) => void,
): Promise<ReadonlyMap<Target, Served>> {
  const promised = new Map(targets.map((target) => [target, 0]));
  const any = new Map(targets.map((target) => [target, 0]));
  const tried = new Map(targets.map((target) => [target, new Set<number>()]));
  const judge = (target: Target, rate: number, rounds: readonly LoadOutcome[]): void => {
    tried.get(target)!.add(rate);
    if (kneeReason(rounds) !== undefined) return;
    any.set(target, Math.max(any.get(target)!, rate));
    if (leastP99Ms(rounds) <= SERVED_P99_MS)
      promised.set(target, Math.max(promised.get(target)!, rate));
  };
  /** The lowest rate that was tried above the served one. */
  const nextOf = (target: Target): number =>
    Math.min(...[...tried.get(target)!].filter((rate) => rate > promised.get(target)!));
  let running = targets;
  for (const rate of plan.rates) {
    const outcomes = await loadAll(generator, new Map(running.map((t) => [t, rate])), plan);
    onRate(rate, outcomes);
    for (const [target, rounds] of outcomes) judge(target, rate, rounds);
    running = running.filter((target) => {
      const reason = kneeReason(outcomes.get(target)!);
      if (reason !== undefined) say(`serve: ${target.name} stops after ${rate}/s: ${reason}`);
      return reason === undefined;
    });
    if (running.length === 0) break;
  }
  for (let step = 0; step < plan.refinements; step++) {
    const between = new Map(
      targets
        .filter((target) => promised.get(target)! > 0 && nextOf(target) < Infinity)
        .map((target) => [target, Math.round(Math.sqrt(promised.get(target)! * nextOf(target)))]),
    );
    const outcomes = await loadAll(generator, between, plan);
    for (const [target, rounds] of outcomes) judge(target, between.get(target)!, rounds);
  }
  return new Map(
    targets.map((target) => [target, { promised: promised.get(target)!, any: any.get(target)! }]),
  );
}

/** Loads each target at its rate, in alternating rounds. */
async function loadAll(
  generator: Generator,
  rates: ReadonlyMap<Target, number>,
  { rounds, seconds }: Pick<SweepPlan, 'rounds' | 'seconds'>,
): Promise<Map<Target, LoadOutcome[]>> {
  const outcomes = new Map<Target, LoadOutcome[]>();
  for (let round = 0; round < rounds; round++)
    for (const [target, rate] of rates)
      outcomes.set(target, [
        ...(outcomes.get(target) ?? []),
        await loadOnce(generator, target, rate, seconds, round),
      ]);
  return outcomes;
}

export async function loadOnce(
  generator: Generator,
  { protocol, server }: Target,
  rate: number,
  seconds: number,
  seed: number,
): Promise<LoadOutcome> {
  const outcome = await generator.load({
    protocol,
    port: server.port,
    rate,
    seconds,
    seed,
    warmUpSeconds: WARM_UP_SECONDS,
  });
  await sleep(QUIET_MS);
  return outcome;
}

function leastP99Ms(rounds: readonly LoadOutcome[]): number {
  return Math.min(...rounds.map(({ p99Ms }) => p99Ms));
}

function kneeReason(rounds: readonly LoadOutcome[]): string | undefined {
  const failed = rounds.reduce((sum, outcome) => sum + outcome.failed + outcome.refused, 0);
  if (failed > 0) return `${failed} requests refused or unanswered`;
  const p99 = leastP99Ms(rounds);
  if (p99 > KNEE_P99_MS) return `p99 ${p99.toFixed(0)} ms`;
  const share = summarise(rounds.map(({ achievedRate, sentRate }) => achievedRate / sentRate));
  return share.value < KNEE_SHARE ? `answers ${(share.value * 100).toFixed(0)} %` : undefined;
}
