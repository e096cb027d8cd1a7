import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { shardVisits } from './shard-schedule.ts';

const cases = fc.record({
  users: fc
    .array(fc.nat(500), { minLength: 1, maxLength: 8 })
    .filter((users) => users.some((count) => count > 0)),
  seed: fc.nat(1000),
  steps: fc.integer({ min: 1, max: 400 }),
  usersPerStep: fc.integer({ min: 1, max: 64 }),
});

/** Shards with the given numbers of users, each of weight `weight`. */
function shardsOf(
  users: readonly number[],
  weight = 1,
): { users: number; weightOfShards: number[] } {
  return {
    users: users.reduce((sum, count) => sum + count, 0),
    weightOfShards: users.map((count) => count * weight),
  };
}

describe('shardVisits', () => {
  it('covers every step of the run once, in order, and never waits at a shard for itself', () => {
    fc.assert(
      fc.property(cases, ({ users, ...config }) => {
        let next = 1;
        let before = -1;
        for (const { shard, firstStep, endStep } of shardVisits(shardsOf(users), config)) {
          assert.equal(firstStep, next);
          assert.ok(endStep > firstStep);
          assert.notEqual(shard, before);
          assert.ok(users[shard]! > 0, `shard ${shard} has nobody to train on`);
          next = endStep;
          before = shard;
        }
        assert.equal(next, config.steps + 1);
      }),
    );
  });

  it('gives each shard steps in proportion to its weight, within one step per round', () => {
    fc.assert(
      fc.property(cases, fc.integer({ min: 1, max: 20 }), ({ users, ...config }, weight) => {
        const all = users.reduce((sum, count) => sum + count, 0);
        const rounds = Math.max(1, Math.round((config.steps * config.usersPerStep) / all));
        const steps = users.map(() => 0);
        for (const { shard, firstStep, endStep } of shardVisits(shardsOf(users, weight), config))
          steps[shard]! += endStep - firstStep;
        for (const [shard, count] of steps.entries())
          assert.ok(
            Math.abs(count - (config.steps * users[shard]!) / all) <= rounds,
            `${count} steps for ${users[shard]!} of ${all} users`,
          );
      }),
    );
  });

  it('visits all shards even of a run that does not go through all users', () => {
    const visits = shardVisits(shardsOf([1000, 1000, 1000, 1000]), {
      seed: 1,
      steps: 12,
      usersPerStep: 2,
    });
    assert.deepEqual(visits.map(({ shard }) => shard).sort(), [0, 1, 2, 3]);
    assert.ok(visits.every(({ firstStep, endStep }) => endStep - firstStep === 3));
  });

  it('stays at the only shard', () => {
    assert.deepEqual(shardVisits(shardsOf([7]), { seed: 3, steps: 90, usersPerStep: 5 }), [
      { shard: 0, firstStep: 1, endStep: 91 },
    ]);
  });

  it('orders every round anew, by the seed', () => {
    const users = [64, 64, 64, 64, 64, 64];
    const order = (seed: number): number[] =>
      shardVisits(shardsOf(users), { seed, steps: 60, usersPerStep: 64 }).map(({ shard }) => shard);
    assert.deepEqual(order(1), order(1));
    assert.notDeepEqual(order(1), order(2));
    assert.notDeepEqual(order(1).slice(0, 6), order(1).slice(6, 12));
  });
});
