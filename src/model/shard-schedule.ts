// Which shard a step draws from. A pure function of (seed, step), so a resumed run goes where an uninterrupted one went.

import { Random } from '../random.ts';
import type { TrainConfig } from './train-config.ts';

/** Steps [firstStep, endStep) in a row that draw from one shard. */
export interface ShardVisit {
  readonly shard: number;
  readonly firstStep: number;
  readonly endStep: number;
}

/**
 * Every round visits all shards in an order of its own, for steps in proportion to their training users; there are as many
 * rounds as the steps of the run go through all users, at least one. So each run sees each shard as much as its users weigh.
 *
 * @param users - training users of each shard, not all 0.
 * @returns visits by step, which cover steps 1 to config.steps; a shard with too few users for a step has none.
 */
export function shardVisits(
  users: readonly number[],
  { seed, steps, usersPerStep }: Pick<TrainConfig, 'seed' | 'steps' | 'usersPerStep'>,
): ShardVisit[] {
  const all = users.reduce((total, count) => total + count, 0);
  const rounds = Math.min(steps, Math.max(1, Math.round((steps * usersPerStep) / all)));
  const visits: ShardVisit[] = [];
  for (let round = 0; round < rounds; round++) {
    const begin = 1 + Math.floor((round * steps) / rounds);
    const length = 1 + Math.floor(((round + 1) * steps) / rounds) - begin;
    let before = 0;
    for (const shard of new Random(seed, 3, round).shuffle([...users.keys()])) {
      const firstStep = begin + Math.floor((before * length) / all);
      before += users[shard]!;
      const endStep = begin + Math.floor((before * length) / all);
      const last = visits.at(-1);
      if (firstStep === endStep) continue;
      // Two rounds that meet at a shard stay there.
      if (last?.shard === shard) visits.splice(-1, 1, { ...last, endStep });
      else visits.push({ shard, firstStep, endStep });
    }
  }
  return visits;
}
