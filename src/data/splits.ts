// Decides where the past of each user ends, for the two evaluation protocols. All functions are
// pure functions of the event table.

import { TandemError } from '../errors.ts';
import { DAY_SECONDS } from '../time.ts';
import type { Dataset } from './dataset.ts';

/** Unix seconds of 00:00 UTC on the day of `timeSeconds`. */
export function dayStart(timeSeconds: number): number {
  return Math.floor(timeSeconds / DAY_SECONDS) * DAY_SECONDS;
}

/**
 * Counts the user's events strictly before an instant, which are the first events of the user's
 * range.
 *
 * @param user - row of the user table; -1, for a user without a row, has no events.
 * @param timeSeconds - e.g. dayStart(request.time) for the events that a daily batch knew.
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

/** Which events of each user are the past, and which one is held out. */
export interface EventSplit {
  /** [users]: the past of user u is the events [userOffsets[u], trainEnd[u]). */
  readonly trainEnd: Int32Array;
  /** [users]: the event to predict, or -1 when the user has too few events. */
  readonly heldOut: Int32Array;
}

/** A user with fewer events has no past to predict from when the last two events are held out. */
const MIN_EVENTS_TO_HOLD_OUT = 3;

/**
 * tableProtocol: leave one out. A user's last event is for testing, the event before it for
 * validation; all events of users with fewer than three are for training.
 *
 * For 'test' the past ends before the test event. So it includes the validation event, as in the
 * papers. A model is trained on the past of 'validation' alone.
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
 * timeProtocol: the past is the events strictly before the cut.
 *
 * @returns [users] ends: the past of user u is the events [userOffsets[u], end[u]).
 * @throws TandemError ERR_DATASET_INVALID when the dataset has positions instead of times.
 */
export function timeCutSplit(dataset: Dataset, cutSeconds: number): Int32Array {
  if (!dataset.hasTime)
    throw new TandemError(
      'ERR_DATASET_INVALID',
      `Expected event times for a split in time, the dataset ${dataset.name} has positions only. ` +
        'Use the leave-one-out protocol.',
    );
  return Int32Array.from(
    { length: dataset.users.count },
    (_end, user) => dataset.events.userOffsets[user]! + eventsBefore(dataset, user, cutSeconds),
  );
}
