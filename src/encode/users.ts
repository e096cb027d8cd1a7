// The daily batch: encodes the histories of users with new activity into the feature store. It
// keeps no record of its progress, because it skips users whose stored state covers their newest
// event. So a job that was killed encodes the remaining users when it runs again, and ends in the
// same states.

import type { Bundle } from '../bundle/load.ts';
import { maxStateRows } from '../bundle/manifest.ts';
import { bundleStateFormat } from '../bundle/weights/state-format.ts';
import type { Dataset } from '../data/dataset.ts';
import { TandemError } from '../errors.ts';
import { ActionRows } from '../features/action-rows.ts';
import { HistoryBatchBuilder, type EventColumns } from '../features/sequence.ts';
import { makeUserState, type EventRange } from '../features/user-state.ts';
import type { EncoderId, UserId } from '../ids.ts';
import { newStateBatch, type StateBatch } from '../store/state-batch.ts';
import type { HistoryStore, StateStore, WatermarkStore } from '../store/store.ts';
import { startProgress } from '../telemetry.ts';
import { mergeHistories, type UserToMerge } from './merge-histories.ts';
import { openEncoder, type EncoderOptions } from './open-encoder.ts';

export interface EncodeUsersOptions extends EncoderOptions {
  readonly dataset: Dataset;
  readonly store: StateStore & HistoryStore & WatermarkStore;
  /** Unix seconds: the job reads only events before this time. Default: all events. */
  readonly untilSeconds?: number;
  /**
   * Unix seconds: the job encodes all users with an event at or after this time. By default, it
   * starts from the watermark in the store, and skips users whose states are up to date.
   */
  readonly sinceSeconds?: number;
  /**
   * Whether to store the newest events of every user, which POST /v1/events needs to encode fresh
   * events. Histories that are in the store already are kept up to date in any case.
   */
  readonly histories?: boolean;
}

/** What a job of encodeUsers() did. */
export interface EncodeUsersReport {
  /** Users with an event in [since, until). */
  readonly active: number;
  readonly encoded: number;
  /** Active users whose stored state already covered their newest event. */
  readonly skipped: number;
  /** Events of items that the bundle's catalogue does not have. */
  readonly unknownItemEvents: number;
  readonly watermarkSeconds: number;
  readonly seconds: number;
}

/** Users that are encoded together; their states are written while the next batch is encoded. */
const USERS_PER_BATCH = 512;

/** A user of the dataset with the events [begin, end) that the job sees. */
interface ActiveUser {
  readonly id: UserId;
  /** Row of the dataset's users. */
  readonly user: number;
  readonly begin: number;
  readonly end: number;
}

/**
 * Encodes users with new activity and moves the encoder's watermark to `untilSeconds`.
 *
 * @throws TandemError ERR_DATASET_INVALID when the bundle knows no item of the events;
 *   ERR_INVALID_ARGUMENT for bf16 with engine tfjs, or a backend with engine native;
 *   ERR_BACKEND_UNAVAILABLE; errors of the store.
 */
export async function encodeUsers(options: EncodeUsersOptions): Promise<EncodeUsersReport> {
  const startedMs = performance.now();
  const { bundle, dataset, store } = options;
  const encoderId = bundle.manifest.encoderId as EncoderId;
  const known = knownEvents(bundle, dataset);
  const { columns } = known;
  const untilSeconds = options.untilSeconds ?? newest(columns.times) + 1;
  const since = options.sinceSeconds ?? (await store.readWatermark(encoderId)) ?? -Infinity;
  const active = activeUsers(dataset, known, since, untilSeconds);

  const encoder = await openEncoder(options);
  const format = bundleStateFormat(bundle);
  const progress = startProgress('encode users', active.length, 'users');
  let encoded = 0;
  let written: Promise<void> = Promise.resolve();
  try {
    const rows = maxStateRows(bundle.manifest.model);
    const stored = newStateBatch(USERS_PER_BATCH, format.dimensions, rows);
    for (let at = 0; at < active.length; at += USERS_PER_BATCH) {
      const batch = active.slice(at, at + USERS_PER_BATCH);
      const due = await dueUsers(options, batch, columns, stored);
      const histories = new HistoryBatchBuilder(format.maxHistory);
      for (const { events } of due) histories.add(events.columns, events.begin, events.end);
      const states = encoder.encode(histories.batch());
      const write = async (): Promise<void> => {
        const encodedAtSeconds = Date.now() / 1000;
        const all = await states;
        const entries = due.map(({ id, events }, i) => ({
          user: id,
          state: makeUserState(all[i]!, events, format, encodedAtSeconds),
        }));
        await store.write(encoderId, entries);
        encoded += due.length;
        progress.update(Math.min(active.length, at + USERS_PER_BATCH));
      };
      await written;
      written = write();
      // The next batch, or the code below, awaits the promise and its error.
      written.catch(() => undefined);
    }
    await written;
    await store.writeWatermark(encoderId, untilSeconds);
  } finally {
    await written.catch(() => undefined);
    progress.end(`${encoded} encoded`);
    encoder.dispose();
  }
  return {
    active: active.length,
    encoded,
    skipped: active.length - encoded,
    unknownItemEvents: known.unknown,
    watermarkSeconds: untilSeconds,
    seconds: (performance.now() - startedMs) / 1000,
  };
}

/** Users with an event in [since, until), each with the events before `until`. */
function activeUsers(
  dataset: Dataset,
  { columns, offsets }: KnownEvents,
  since: number,
  until: number,
): ActiveUser[] {
  const active: ActiveUser[] = [];
  for (let user = 0; user < dataset.users.count; user++) {
    const begin = offsets[user]!;
    let end = offsets[user + 1]!;
    while (end > begin && columns.times[end - 1]! >= until) end--;
    if (end > begin && columns.times[end - 1]! >= since)
      active.push({ id: dataset.users.ids[user]! as UserId, user, begin, end });
  }
  return active;
}

/**
 * The users of a batch whose states must be computed, with the events to compute them from: those
 * of the dataset, merged with the events in the store where there are any.
 *
 * @param stored - room for the states of the batch; overwritten.
 */
async function dueUsers(
  options: EncodeUsersOptions,
  batch: readonly ActiveUser[],
  columns: KnownEvents['columns'],
  stored: StateBatch,
): Promise<{ readonly id: UserId; readonly events: EventRange }[]> {
  const { bundle, store, sinceSeconds, histories = false } = options;
  const ids = batch.map(({ id }) => id);
  // With an explicit --since, every user of the batch is encoded, whatever is stored.
  if (sinceSeconds === undefined)
    await store.read(bundle.manifest.encoderId as EncoderId, ids, stored);
  else stored.lengths.fill(0);
  const kept = await store.readHistories(ids);
  const outdated: (ActiveUser & UserToMerge)[] = [];
  const toMerge: UserToMerge[] = [];
  for (const [i, active] of batch.entries()) {
    const lastEventSeconds = columns.times[active.end - 1]!;
    const upToDate = stored.lengths[i]! > 0 && stored.lastEventSeconds[i]! >= lastEventSeconds;
    if (upToDate && (!histories || kept[i]?.complete === true)) continue;
    const user = { ...active, lastEventSeconds };
    outdated.push(user);
    if (histories || kept[i] !== undefined) toMerge.push(user);
  }
  const merged = await mergeHistories(options, toMerge);
  return outdated.map(({ id, begin, end }) => ({
    id,
    events: merged.get(id) ?? { columns, begin, end },
  }));
}

/** A dataset's events in the rows of a bundle, without events of items that it does not know. */
interface KnownEvents {
  readonly columns: EventColumns & { readonly times: Float64Array };
  /** [users + 1]: the events of user u are [offsets[u], offsets[u + 1]). */
  readonly offsets: Int32Array;
  /** Number of events that were left out. */
  readonly unknown: number;
}

function knownEvents(bundle: Bundle, dataset: Dataset): KnownEvents {
  const { events } = dataset;
  const rows = dataset.items.ids.map((id) => bundle.catalogue.row(id));
  const allActions = new ActionRows(bundle.schema).column(events);
  const items = new Int32Array(events.count);
  const actions = new Int32Array(events.count);
  const times = new Float64Array(events.count);
  const offsets = new Int32Array(dataset.users.count + 1);
  let kept = 0;
  for (let user = 0; user < dataset.users.count; user++) {
    for (let i = events.userOffsets[user]!; i < events.userOffsets[user + 1]!; i++) {
      const row = rows[events.items[i]!]!;
      if (row < 0) continue;
      items[kept] = row;
      actions[kept] = allActions[i]!;
      times[kept] = events.times[i]!;
      kept++;
    }
    offsets[user + 1] = kept;
  }
  if (kept === 0)
    throw new TandemError(
      'ERR_DATASET_INVALID',
      `Expected events of the ${bundle.catalogue.count} items of bundle ` +
        `${bundle.manifest.bundleId.slice(0, 16)} in dataset "${dataset.name}", found none in ` +
        `${events.count}. Encode the data that the bundle was trained on.`,
    );
  return {
    columns: {
      items: items.subarray(0, kept),
      actions: actions.subarray(0, kept),
      times: times.subarray(0, kept),
    },
    offsets,
    unknown: events.count - kept,
  };
}

function newest(times: Float64Array): number {
  return times.reduce((latest, time) => Math.max(latest, time), -Infinity);
}
