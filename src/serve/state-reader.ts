// Hydration: reads the states of a micro-batch's users. When the store fails, these users are
// answered without their history; no request fails.

import { TandemError } from '../errors.ts';
import type { EncoderId, UserId } from '../ids.ts';
import { onlyState, type StateBatch } from '../store/state-batch.ts';
import type { StateStore } from '../store/store.ts';
import { logger } from '../telemetry.ts';
import type { StateFailure } from './answer/answer-parts.ts';

export class StateReader {
  readonly #store: StateStore;
  #failing = false;

  constructor(store: StateStore) {
    this.#store = store;
  }

  /**
   * Reads the states of users in one call. If a record is damaged, it reads them one by one, so
   * that only the user of that record loses the state.
   *
   * @param states - receives the states, in the order of `users`.
   * @returns per user why the state could not be read; an empty list if all could be read.
   */
  async read(
    encoderId: EncoderId,
    users: readonly UserId[],
    states: StateBatch,
  ): Promise<readonly StateFailure[]> {
    try {
      await this.#store.read(encoderId, users, states);
      this.#logOnce(undefined);
      return [];
    } catch (error) {
      states.lengths.fill(0);
      if (!(error instanceof TandemError) || error.code !== 'ERR_STORE_CORRUPT') {
        this.#logOnce(error);
        return users.map(() => 'store_unavailable');
      }
      if (users.length === 1) {
        logger.warn({ err: error }, 'damaged user state: answering from context alone');
        return ['store_corrupt'];
      }
    }
    const failures: StateFailure[] = [];
    for (const [i, user] of users.entries()) {
      const [failure] = await this.read(encoderId, [user], onlyState(states, i));
      failures.push(failure);
    }
    return failures;
  }

  /** Logs the first failure and the recovery, not each request in between. */
  #logOnce(error: unknown): void {
    const failing = error !== undefined;
    if (failing && !this.#failing)
      logger.error({ err: error }, 'feature store fails: answering from context alone');
    if (!failing && this.#failing) logger.info('feature store answers again');
    this.#failing = failing;
  }
}
