// Statistics of all training events of a run, in two passes over the shards.

import type { Dataset } from '../../data/dataset.ts';
import { ALL_TIME } from '../../data/read-requests.ts';
import type { DatasetShards } from '../../data/shards.ts';
import { TandemError } from '../../errors.ts';
import { startProgress } from '../../telemetry.ts';
import { DAY_SECONDS } from '../../time.ts';
import { requestsOfEvents } from './contexts/logged-context.ts';
import type { ItemStatistics } from './losses/step-loss.ts';
import type { TrainConfig } from '../train-config.ts';

const POPULARITY_DAYS = 30;

/**
 * Gives the training ends of a dataset or a shard: [users] `ends`, so that the training events of
 * user u are [userOffsets[u], ends[u]).
 */
export type TrainingEnds = (dataset: Dataset) => Int32Array;

/** Statistics over all training events of a run. */
export interface TrainingStatistics {
  /** Number of training events. */
  readonly events: number;
  /** Time of the newest training event. */
  readonly untilSeconds: number;
  /** Time of the oldest event that is not a training event; Infinity when all are. */
  readonly heldOutFrom: number;
  /** Number of users with training events. */
  readonly users: number;
  /**
   * [shards] the weight of each shard: the sum of drawWeight over its users. Steps draw from shards
   * in proportion to it.
   */
  readonly weightOfShards: readonly number[];
  /** The item counts by which negatives are drawn, and corrected with logQ. */
  readonly items: ItemStatistics;
  /**
   * [N] training events of each item in the last 30 days before `untilSeconds`; all training events
   * when the dataset has no real times.
   */
  readonly popularity: Float32Array;
}

/**
 * Reads all shards twice, one at a time. Memory is 20 bytes per item.
 *
 * Sums run over users in the order of the dataset, so the result does not depend on where shards
 * are cut, to the last bit.
 *
 * @throws TandemError ERR_DATASET_INVALID when no training event is left; ERR_CONFIG_INVALID when
 *   the settings need times or logged requests that the dataset does not have.
 */
export async function trainingStatistics(
  shards: DatasetShards,
  trainingEnds: TrainingEnds,
  config: TrainConfig,
): Promise<TrainingStatistics> {
  requireTimes(shards, config);
  const counts = new Float64Array(shards.items.count);
  const positives = new Float64Array(shards.items.count);
  const weightOfShards: number[] = [];
  let userCount = 0;
  let events = 0;
  let untilSeconds = -Infinity;
  let heldOutFrom = Infinity;
  let drawn = 0;
  // One conversion with a logged request is enough: the check looks no further.
  let logged = config.loggedShare === 0;
  await eachShard(shards, 'training events', async (shard) => {
    const dataset = await shards.read(shard, logged ? undefined : ALL_TIME);
    const ends = trainingEnds(dataset);
    const { items, times, userOffsets } = dataset.events;
    const users = trainingUsers(dataset, ends);
    let weightOfShard = 0;
    for (const user of users) {
      const first = userOffsets[user]!;
      const end = ends[user]!;
      const bought = items.subarray(first, end);
      // Without repeats an item is a positive of a user only once.
      const candidates = config.repeats ? bought : Int32Array.from(new Set(bought));
      const weight = drawWeight(end - first, config);
      const perUser = weight * Math.min(positivesOfUser(config), candidates.length);
      weightOfShard += weight;
      events += end - first;
      untilSeconds = Math.max(untilSeconds, times[end - 1]!);
      drawn += perUser;
      for (const item of bought) counts[item]!++;
      for (const item of candidates) positives[item]! += perUser / candidates.length;
    }
    for (const [user, end] of ends.entries())
      if (end < userOffsets[user + 1]!) heldOutFrom = Math.min(heldOutFrom, times[end]!);
    userCount += users.length;
    weightOfShards.push(weightOfShard);
    logged ||= requestsOfEvents(dataset, ends).some((row) => row >= 0);
  });
  if (events === 0)
    throw new TandemError(
      'ERR_DATASET_INVALID',
      `Expected users with events before the training cut in dataset "${shards.name}", ` +
        `found none of ${sum(shards.userCounts)}. Choose a later cut or import more events.`,
    );
  if (!logged)
    throw new TandemError(
      'ERR_CONFIG_INVALID',
      'Expected logged requests that led to training events for loggedShare ' +
        `${config.loggedShare}, found none in ${shards.name}. ` +
        'Import requests with their times, or set loggedShare to 0.',
    );
  const popularity = new Float32Array(shards.items.count);
  const from = shards.hasTime ? untilSeconds - POPULARITY_DAYS * DAY_SECONDS : -Infinity;
  await eachShard(shards, 'popularity', async (shard) => {
    const dataset = await shards.read(shard);
    const ends = trainingEnds(dataset);
    const { items, times, userOffsets } = dataset.events;
    for (const user of trainingUsers(dataset, ends))
      for (let i = userOffsets[user]!; i < ends[user]!; i++)
        if (times[i]! >= from) popularity[items[i]!]!++;
  });
  return {
    events,
    untilSeconds,
    heldOutFrom,
    users: userCount,
    weightOfShards,
    items: { counts, positives: positives.map((expected) => expected / drawn) },
    popularity,
  };
}

/** Users with at least one training event. */
export function trainingUsers(dataset: Dataset, ends: Int32Array): Int32Array {
  const { userOffsets } = dataset.events;
  const users = new Int32Array(dataset.users.count);
  let count = 0;
  for (let user = 0; user < users.length; user++)
    if (ends[user]! > userOffsets[user]!) users[count++] = user;
  return users.subarray(0, count);
}

/**
 * The draw weight of a user with `events` training events. Steps draw users in proportion to it. It
 * is 1, or with userWeighting `event` the number of the events, at most maxHistory + 1.
 */
export function drawWeight(events: number, { userWeighting, model }: TrainConfig): number {
  return userWeighting === 'event' ? Math.min(events, model.maxHistory + 1) : 1;
}

/** Calls `visit` for one shard after the other, with a progress bar if there are several. */
export async function eachShard(
  shards: DatasetShards,
  what: string,
  visit: (shard: number) => Promise<void>,
): Promise<void> {
  const count = shards.userCounts.length;
  const progress = count > 1 ? startProgress(`read for ${what}`, count, 'shards') : undefined;
  try {
    for (let shard = 0; shard < count; shard++) {
      await visit(shard);
      progress?.update(shard + 1);
    }
  } finally {
    progress?.end();
  }
}

/**
 * The number of positives that a step draws from a user whose history is long enough.
 *
 * Users are drawn uniformly by default. An event of a user with few events is then a positive more
 * often than an event of a user with many events, so the distribution of positives is not the item
 * frequency. The statistics assume that all events of a user that can be positives are drawn
 * equally often.
 */
function positivesOfUser({ positivesPerUser, model }: TrainConfig): number {
  // A window has maxHistory encoded events, and the position after them.
  const positions = model.maxHistory + 1;
  return positivesPerUser === 'all' ? positions : Math.min(positivesPerUser, positions);
}

function requireTimes(shards: DatasetShards, { objective }: TrainConfig): void {
  if (objective.kind !== 'next' && objective.windowDays !== undefined && !shards.hasTime)
    throw new TandemError(
      'ERR_CONFIG_INVALID',
      `Expected a window in events for dataset "${shards.name}", which has positions instead of ` +
        `times, received windowDays ${objective.windowDays}. Set windowEvents instead.`,
    );
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
