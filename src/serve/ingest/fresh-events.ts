// Conversions as they happen: appended to the user's history, durably, and encoded at once by the native encoder, so that the next request
// of that user is answered from a state that is seconds old. One event loop of a server does this; requests are taken in turn.

import { bundleHistoryEncoder, type HistoryEncoder } from '../../bundle/weights/history-encoder.ts';
import { EventRows } from '../../bundle/weights/event-rows.ts';
import { bundleStateFormat } from '../../bundle/weights/state-format.ts';
import { bundleTensors } from '../../bundle/load.ts';
import { maxStateRows } from '../../bundle/manifest.ts';
import { HistoryBatchBuilder } from '../../features/sequence.ts';
import type { UserId } from '../../ids.ts';
import { mergeEvents, type HistoryEvent, type UserHistory } from '../../store/history.ts';
import { makeUserState, type StateFormat } from '../../features/user-state.ts';
import { newStateBatch } from '../../store/state-batch.ts';
import type { HistoryStore, StateStore } from '../../store/store.ts';
import type { Engine } from '../engine/engine.ts';
import type { ServerMetrics } from '../metrics/metrics.ts';
import type { IngestedEvent } from '../request/request-types.ts';
import type { Served } from '../engine/served.ts';

/** What became of the events of one request. */
export interface IngestReport {
  /** Events that are in histories now, on disk. */
  readonly accepted: number;
  /** Events that were there already, by their event_id or by what happened when. */
  readonly duplicates: number;
  /** Users whose state has seen their newest event. */
  readonly encoded_users: number;
  /** Users whose history is not all here, or of whose items the bundle knows none: their state waits for the next batch job. */
  readonly waiting_users: number;
}

/** Users that are encoded before the event loop answers somebody else: some milliseconds. */
const USERS_AT_ONCE = 16;

interface Encoding {
  readonly encoder: HistoryEncoder;
  readonly rows: EventRows;
  readonly format: StateFormat;
}

export class FreshEvents {
  readonly #bundles: { readonly served: Served };
  readonly #store: StateStore & HistoryStore;
  readonly #metrics: ServerMetrics;
  /** Made when first needed: an encoder holds its own table of the catalogue. */
  readonly #encodings = new WeakMap<Engine['bundle'], Encoding>();
  #last: Promise<unknown> = Promise.resolve();

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
   * Resolves when the events survive a crash and the states that can be made of them are readable.
   *
   * @throws TandemError ERR_STORE_UNAVAILABLE, ERR_STORE_CORRUPT: then no event of the call was kept.
   */
  ingest(events: readonly IngestedEvent[]): Promise<IngestReport> {
    const turn = this.#last.then(() => this.#ingest(events));
    this.#last = turn.catch(() => undefined);
    return turn;
  }

  async #ingest(events: readonly IngestedEvent[]): Promise<IngestReport> {
    const { active, previous } = this.#bundles.served;
    const byUser = new Map<UserId, HistoryEvent[]>();
    for (const { user, item, action, time, event_id: id } of events) {
      const own = byUser.get(user as UserId) ?? [];
      own.push({ item, action: action ?? '', time: time ?? Date.now() / 1000, id: id ?? '' });
      byUser.set(user as UserId, own);
    }
    const users = [...byUser.keys()];
    const withState = await this.#withState(active, previous, users);
    const most = active.bundle.manifest.model.maxHistory + 1;
    const histories = new Map<UserId, UserHistory>();
    let accepted = 0;
    await this.#store.changeHistories(users, (user, history) => {
      // A state without a history is one of a batch job that knew more than has come in here.
      const complete = history?.complete ?? !withState.has(user);
      const known = history?.events ?? [];
      const { events: together, added } = mergeEvents(known, byUser.get(user)!, most);
      accepted += added;
      const next = { complete, events: together };
      histories.set(user, next);
      return next;
    });
    const encoded = await this.#encode(active, histories);
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

  /** Users with a state of either bundle. */
  async #withState(
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
      await this.#store.read(engine.encoderId, users, states);
      for (const [row, user] of users.entries()) if (states.lengths[row]! > 0) found.add(user);
    }
    return found;
  }

  /** @returns how many states were written. */
  async #encode(engine: Engine, histories: ReadonlyMap<UserId, UserHistory>): Promise<number> {
    const { encoder, rows, format } = this.#encodingOf(engine);
    const due = [...histories]
      .filter(([, { complete }]) => complete)
      .map(([user, { events }]) => ({ user, columns: rows.columns(events) }))
      .filter(({ columns }) => columns.times.length > 0);
    for (let at = 0; at < due.length; at += USERS_AT_ONCE) {
      const part = due.slice(at, at + USERS_AT_ONCE);
      const batch = new HistoryBatchBuilder(format.maxHistory);
      for (const { columns } of part) batch.add(columns, 0, columns.times.length);
      const states = encoder.encode(batch.batch());
      const encodedAtSeconds = Date.now() / 1000;
      await this.#store.write(
        engine.encoderId,
        part.map(({ user, columns }, i) => {
          const events = { columns, begin: 0, end: columns.times.length };
          return { user, state: makeUserState(states[i]!, events, format, encodedAtSeconds) };
        }),
      );
    }
    return due.length;
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
