// Accepts events as they happen: appends them to the user's history durably and encodes the history
// at once, so that the user's next request is answered from a state that is seconds old. One event
// loop of a server does this, one request after the other.

import { bundleHistoryEncoder, type HistoryEncoder } from '../../bundle/weights/history-encoder.ts';
import { EventRows } from '../../bundle/weights/event-rows.ts';
import { bundleStateFormat } from '../../bundle/weights/state-format.ts';
import { bundleTensors } from '../../bundle/load.ts';
import { maxStateRows } from '../../bundle/manifest.ts';
import { impliedAction } from '../../features/action-rows.ts';
import { historyDigest } from '../../features/history-digest.ts';
import { HistoryBatchBuilder } from '../../features/sequence.ts';
import { TandemError } from '../../errors.ts';
import type { UserId } from '../../ids.ts';
import { SerialQueue } from '../../serial-queue.ts';
import { mergeEvents, type HistoryEvent, type UserHistory } from '../../store/history.ts';
import { makeUserState, type StateFormat } from '../../features/user-state.ts';
import { newStateBatch, onlyState } from '../../store/state-batch.ts';
import type { HistoryStore, StateStore } from '../../store/store.ts';
import { logger } from '../../telemetry.ts';
import type { Engine } from '../engine/engine.ts';
import type { Served } from '../engine/served.ts';
import type { ServerMetrics } from '../metrics/metrics.ts';
import type { IngestedEvent } from '../request/request-types.ts';

/** The outcome of a request with events. */
export interface IngestReport {
  /** Events that were added to histories on disk. */
  readonly accepted: number;
  /** Events that were in the history already: same event_id, or same item, action and time. */
  readonly duplicates: number;
  /** Users whose state now includes their newest event. */
  readonly encoded_users: number;
  /**
   * Users whose state waits for the next batch job: their history is incomplete here or damaged,
   * the bundle knows none of its items, or it could not be encoded.
   */
  readonly waiting_users: number;
}

/**
 * Users that are encoded before the event loop turns to other requests. It takes a few
 * milliseconds.
 */
const USERS_AT_ONCE = 16;

interface Encoding {
  readonly encoder: HistoryEncoder;
  readonly rows: EventRows;
  readonly format: StateFormat;
}

/** A user to encode, and the events of the user's history that the bundle knows. */
interface DueUser {
  readonly user: UserId;
  readonly columns: ReturnType<EventRows['columns']>;
}

export class FreshEvents {
  readonly #bundles: { readonly served: Served };
  readonly #store: StateStore & HistoryStore;
  readonly #metrics: ServerMetrics;
  readonly #queue = new SerialQueue();
  /** Made on first use, because an encoder holds its own table of the catalogue. */
  readonly #encodings = new WeakMap<Engine['bundle'], Encoding>();

  constructor(
    bundles: { readonly served: Served },
    store: StateStore & HistoryStore,
    metrics: ServerMetrics,
  ) {
    this.#bundles = bundles;
    this.#store = store;
    this.#metrics = metrics;
  }

  /**
   * Adds events to histories and encodes the users. The promise resolves when the events survive a
   * crash and the new states can be read.
   *
   * A damaged record and a history that cannot be encoded concern their user alone.
   *
   * @throws TandemError ERR_STORE_UNAVAILABLE. Then all or no events of the call were kept. When
   *   they are sent again, those that were kept are duplicates, and their users are encoded. The
   *   next batch job encodes them in any case.
   */
  ingest(events: readonly IngestedEvent[]): Promise<IngestReport> {
    return this.#queue.run(() => this.#ingest(events));
  }

  async #ingest(events: readonly IngestedEvent[]): Promise<IngestReport> {
    const { active, previous } = this.#bundles.served;
    const eventsByUser = groupByUser(events, impliedAction(active.bundle.schema));
    const users = [...eventsByUser.keys()];
    const withState = await this.#usersWithState(active, previous, users);
    const maxEvents = active.bundle.manifest.model.maxHistory + 1;
    const histories = new Map<UserId, UserHistory>();
    // By user, because the store may ask for a history a second time.
    const added = new Map<UserId, number>();
    const damaged = new Set<UserId>();
    await this.#store.changeHistories(users, (user, history) => {
      // A user with a state but no history was encoded by a batch job, which knew events that are
      // not here.
      const complete = history?.complete ?? !withState.has(user);
      if (history?.damaged) damaged.add(user);
      const known = history?.events ?? [];
      const merged = mergeEvents(known, eventsByUser.get(user)!, maxEvents);
      added.set(user, merged.added);
      const next = { complete, events: merged.events };
      histories.set(user, next);
      return next;
    });
    for (const user of damaged) logger.error({ user }, 'damaged history: it begins anew');
    this.#metrics.damagedHistories.inc(damaged.size);
    const encoded = await this.#encode(active, histories);
    const accepted = [...added.values()].reduce((sum, count) => sum + count, 0);
    const duplicates = events.length - accepted;
    this.#metrics.freshEvents.inc({ outcome: 'accepted' }, accepted);
    this.#metrics.freshEvents.inc({ outcome: 'duplicate' }, duplicates);
    return {
      accepted,
      duplicates,
      encoded_users: encoded,
      waiting_users: users.length - encoded,
    };
  }

  /** The users that have a state of either bundle, or a damaged record of one. */
  async #usersWithState(
    active: Engine,
    previous: Engine | undefined,
    users: readonly UserId[],
  ): Promise<ReadonlySet<UserId>> {
    const found = new Set<UserId>();
    for (const engine of previous === undefined ? [active] : [active, previous]) {
      const states = newStateBatch(
        users.length,
        engine.width,
        maxStateRows(engine.bundle.manifest.model),
      );
      try {
        await this.#store.read(engine.encoderId, users, states);
      } catch (error) {
        if (!isDamage(error)) throw error;
        // One record is damaged. The states of the others tell whether these users have one.
        for (const [i, user] of users.entries())
          try {
            await this.#store.read(engine.encoderId, [user], onlyState(states, i));
          } catch (ownError) {
            if (!isDamage(ownError)) throw ownError;
            states.lengths[i] = 1;
          }
      }
      for (const [i, user] of users.entries()) if (states.lengths[i]! > 0) found.add(user);
    }
    return found;
  }

  /** @returns the number of states that were written. */
  async #encode(engine: Engine, histories: ReadonlyMap<UserId, UserHistory>): Promise<number> {
    const { rows } = this.#encodingOf(engine);
    const due = [...histories]
      .filter(([, { complete }]) => complete)
      .map(([user, { events }]) => ({ user, columns: rows.columns(events) }))
      .filter(({ columns }) => columns.times.length > 0);
    let encoded = 0;
    for (let begin = 0; begin < due.length; begin += USERS_AT_ONCE)
      encoded += await this.#encodeUsers(engine, due.slice(begin, begin + USERS_AT_ONCE));
    return encoded;
  }

  /**
   * Encodes users together. If that fails, it encodes them one by one, so that a user whose history
   * cannot be encoded waits alone for the next batch job.
   */
  async #encodeUsers(engine: Engine, users: readonly DueUser[]): Promise<number> {
    const { encoder, format } = this.#encodingOf(engine);
    try {
      const batch = new HistoryBatchBuilder(format.maxHistory);
      for (const { columns } of users) batch.add(columns, 0, columns.times.length);
      const states = encoder.encode(batch.batch());
      const encodedAtSeconds = Date.now() / 1000;
      await this.#store.write(
        engine.encoderId,
        users.map(({ user, columns }, i) => {
          const events = { columns, begin: 0, end: columns.times.length };
          return {
            user,
            state: makeUserState(states[i]!, events, format, encodedAtSeconds),
            historyDigest: historyDigest(events, format.maxHistory),
          };
        }),
      );
      return users.length;
    } catch (error) {
      if (error instanceof TandemError && error.retryable) throw error;
      if (users.length === 1) {
        logger.error({ err: error, user: users[0]!.user }, 'history cannot be encoded');
        return 0;
      }
    }
    let encoded = 0;
    for (const user of users) encoded += await this.#encodeUsers(engine, [user]);
    return encoded;
  }

  #encodingOf(engine: Engine): Encoding {
    let encoding = this.#encodings.get(engine.bundle);
    if (encoding === undefined) {
      const { bundle } = engine;
      const weights = bundleTensors(bundle.directory, bundle.manifest);
      const parts = { ...bundle, tensors: () => weights };
      encoding = {
        encoder: bundleHistoryEncoder(parts),
        rows: new EventRows(bundle),
        format: bundleStateFormat(parts),
      };
      this.#encodings.set(bundle, encoding);
    }
    return encoding;
  }
}

function isDamage(error: unknown): boolean {
  return error instanceof TandemError && error.code === 'ERR_STORE_CORRUPT';
}

/**
 * The events of each user, in the order of the request. An event without a time happens now.
 *
 * @param implied - action of an event without one.
 */
function groupByUser(
  events: readonly IngestedEvent[],
  implied: string,
): ReadonlyMap<UserId, HistoryEvent[]> {
  const byUser = new Map<UserId, HistoryEvent[]>();
  for (const { user, item, action, time, event_id: id } of events) {
    const own = byUser.get(user as UserId) ?? [];
    own.push({ item, action: action ?? implied, time: time ?? Date.now() / 1000, id: id ?? '' });
    byUser.set(user as UserId, own);
  }
  return byUser;
}
