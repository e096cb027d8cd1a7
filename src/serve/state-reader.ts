// Hydration: the states of a micro-batch's users. A store that fails costs the history of these users, never their answer.

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
   * Reads the states of users in one go; where a record is damaged, one by one, so that it takes no other's history with it.
   *
   * @param states - gets them, in the order of `users`.
   * @returns per user why there is none, or nothing at all when every one could be read.
   */
  async read(
    encoderId: EncoderId,
    users: readonly UserId[],
    states: StateBatch,
  ): Promise<readonly StateFailure[]> {
    try {
      await this.#store.read(encoderId, users, states);
      this.#note(undefined);
      return [];
    } catch (error) {
      states.lengths.fill(0);
      if (!(error instanceof TandemError) || error.code !== 'ERR_STORE_CORRUPT') {
        this.#note(error);
        return users.map(() => 'store_unavailable');
      }
      if (users.length === 1) {
        logger.warn({ err: error }, 'damaged user state: answering from context alone');
        return ['store_corrupt'];
      }
    }
    const failures: StateFailure[] = [];
    for (const [row, user] of users.entries()) {
      const [failure] = await this.read(encoderId, [user], onlyState(states, row));
      failures.push(failure);
    }
    return failures;
  }

  /** Logs the first failure and the recovery, not every request between them. */
  #note(error: unknown): void {
    const failing = error !== undefined;
    if (failing && !this.#failing)
      logger.error({ err: error }, 'feature store fails: answering from context alone');
    if (!failing && this.#failing) logger.info('feature store answers again');
    this.#failing = failing;
  }
}
