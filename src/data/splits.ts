// Where the past ends: ranges of a user's events for the two protocols of the evaluation. Pure, over the event table.

import { TandemError } from '../errors.ts';
import { DAY_SECONDS } from '../time.ts';
import type { Dataset } from './dataset.ts';

/** 00:00 UTC of the day that `timeSeconds` lies in, Unix seconds. */
export function dayStart(timeSeconds: number): number {
  return Math.floor(timeSeconds / DAY_SECONDS) * DAY_SECONDS;
}

/**
 * How many of the user's events happened strictly before an instant; they are the first ones of the user's range.
 *
 * @param user - row of the user table; -1, a user without one, has none.
 * @param timeSeconds - e.g. dayStart(request.time) for what a daily batch knew.
 */
export function eventsBefore(dataset: Dataset, user: number, timeSeconds: number): number {
  if (user < 0) return 0;
  const { times, userOffsets } = dataset.events;
  const start = userOffsets[user]!;
  let low = start;
  let high = userOffsets[user + 1]!;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (times[middle]! < timeSeconds) low = middle + 1;
    else high = middle;
  }
  return low - start;
}

export type HoldOut = 'test' | 'validation';

/** For each user, which events are the past and which one is held out. */
export interface EventSplit {
  /** [users]: the past of user u is events [userOffsets[u], trainEnd[u]). */
  readonly trainEnd: Int32Array;
  /** [users]: event to predict, or -1 when the user has too few events to hold one out. */
  readonly heldOut: Int32Array;
}

/** Fewer events leave no past to predict from once the last two are held out. */
export const MIN_EVENTS_TO_HOLD_OUT = 3;

/**
 * tableProtocol: leave one out. The last event of a user is for testing, the one before for validation; users with
 * fewer than three events keep all of them for training.
 *
 * For 'test' the past ends at the test event, so that it includes the validation event, as the papers do; a model is
 * trained on the past of 'validation' alone.
 */
export function lastEventsSplit(dataset: Dataset, holdOut: HoldOut): EventSplit {
  const { userOffsets } = dataset.events;
  const users = dataset.users.count;
  const trainEnd = new Int32Array(users);
  const heldOut = new Int32Array(users).fill(-1);
  for (let user = 0; user < users; user++) {
    const end = userOffsets[user + 1]!;
    if (end - userOffsets[user]! < MIN_EVENTS_TO_HOLD_OUT) {
      trainEnd[user] = end;
      continue;
    }
    heldOut[user] = holdOut === 'test' ? end - 1 : end - 2;
    trainEnd[user] = heldOut[user]!;
  }
  return { trainEnd, heldOut };
}

/**
 * timeProtocol: [users], the past of user u is events [userOffsets[u], end[u]): those strictly before the cut.
 *
 * @throws TandemError ERR_DATASET_INVALID when the dataset has positions instead of times.
 */
export function timeCutSplit(dataset: Dataset, cutSeconds: number): Int32Array {
  if (!dataset.hasTime)
    throw new TandemError(
      'ERR_DATASET_INVALID',
      `Expected event times for a split in time, the dataset ${dataset.name} has positions only. Use the leave-one-out protocol.`,
    );
  return Int32Array.from(
    { length: dataset.users.count },
    (_end, user) => dataset.events.userOffsets[user]! + eventsBefore(dataset, user, cutSeconds),
  );
}
