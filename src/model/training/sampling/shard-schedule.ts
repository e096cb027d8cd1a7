// Which shard a step draws from. A pure function of (seed, step), so a resumed run visits the same
// shards as an uninterrupted one.

import { Random } from '../../../random.ts';
import type { TrainConfig } from '../../train-config.ts';
import type { TrainingStatistics } from '../training-statistics.ts';

/** Consecutive steps [firstStep, endStep) that draw from one shard. */
export interface ShardVisit {
  readonly shard: number;
  readonly firstStep: number;
  readonly endStep: number;
}

/**
 * The visits of a run. A run has rounds, about as many as its draws of users make passes over all
 * users, and at least one. A round visits all shards in its own random order, each shard for a
 * number of steps in proportion to the weight of its training users.
 *
 * @param statistics - its `weightOfShards` are whole numbers, not all 0.
 * @returns visits by step, covering the steps 1 to config.steps. A shard whose weight is too small
 *   for one step has no visit.
 */
export function shardVisits(
  { users, weightOfShards }: Pick<TrainingStatistics, 'users' | 'weightOfShards'>,
  { seed, steps, usersPerStep }: Pick<TrainConfig, 'seed' | 'steps' | 'usersPerStep'>,
): ShardVisit[] {
  const all = weightOfShards.reduce((total, weight) => total + weight, 0);
  const rounds = Math.min(steps, Math.max(1, Math.round((steps * usersPerStep) / users)));
  const visits: ShardVisit[] = [];
  for (let round = 0; round < rounds; round++) {
    const begin = 1 + Math.floor((round * steps) / rounds);
    const length = 1 + Math.floor(((round + 1) * steps) / rounds) - begin;
    let before = 0;
    for (const shard of new Random(seed, 3, round).shuffle([...weightOfShards.keys()])) {
      const firstStep = begin + Math.floor((before * length) / all);
      before += weightOfShards[shard]!;
      const endStep = begin + Math.floor((before * length) / all);
      const last = visits.at(-1);
      if (firstStep === endStep) continue;
      // When a round starts with the last shard of the round before, the two visits become one.
      if (last?.shard === shard) visits.splice(-1, 1, { ...last, endStep });
      else visits.push({ shard, firstStep, endStep });
    }
  }
  return visits;
}
