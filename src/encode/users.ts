// The daily batch: histories of users with new activity through the history encoder, into the feature store.
// Resumable without bookkeeping: a user whose stored state already covers the newest event is skipped, so a job that was
// killed and runs again does what is left and ends in the same states.

import { EventRows } from '../bundle/weights/event-rows.ts';
import { frequencyWeights } from '../bundle/weights/frequency-weights.ts';
import { bundleHistoryEncoder } from '../bundle/weights/history-encoder.ts';
import type { Bundle } from '../bundle/load.ts';
import { stateRows } from '../bundle/manifest.ts';
import type { Dataset } from '../data/dataset.ts';
import { TandemError } from '../errors.ts';
import { historyBoosts } from '../features/item-frequency.ts';
import { HistoryBatchBuilder, type EventColumns, type HistoryBatch } from '../features/sequence.ts';
import { Vocabulary } from '../features/vocabulary.ts';
import type { EncoderId, UserId } from '../ids.ts';
import type { BackendName } from '../model/bundle-model.ts';
import type { Precision } from '../native/isa.ts';
import { mergeEvents, type HistoryEvent } from '../store/history.ts';
import { newStateBatch, type UserStateStore } from '../store/store.ts';
import { startProgress } from '../telemetry.ts';

export interface EncodeUsersOptions {
  readonly bundle: Bundle;
  readonly dataset: Dataset;
  readonly store: UserStateStore;
  /** Unix seconds: only events before it are seen, as by a job that ran then; everything when absent. */
  readonly untilSeconds?: number;
  /** Unix seconds: users with an event at or after it are encoded; the store's watermark when absent. */
  readonly sinceSeconds?: number;
  /** What computes the states: the addon (default), or the model as training runs it, for comparison and for GPUs. */
  readonly engine?: EncodeEngine;
  /** Of the native engine; f32 when absent. */
  readonly precision?: Precision;
  /** Of engine tfjs; `native` when absent. */
  readonly backend?: BackendName;
  /** Leaves the newest events of each user in the store, for fresh encoding: POST /v1/events. What is there is kept up either way. */
  readonly histories?: boolean;
}

export type EncodeEngine = 'native' | 'tfjs';

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

/** Users whose states are computed, and written in one durable transaction, at a time: while these are computed, those before are written. */
const USERS_PER_BATCH = 512;

/**
 * Encodes users with new activity and moves the encoder's watermark to `untilSeconds`.
 *
 * @throws TandemError ERR_DATASET_INVALID when no event is of an item that the bundle knows; ERR_INVALID_ARGUMENT for
 *   bf16 with engine tfjs, or a backend with engine native; ERR_BACKEND_UNAVAILABLE; errors of the store.
 */
export async function encodeUsers(options: EncodeUsersOptions): Promise<EncodeUsersReport> {
  const startedMs = performance.now();
  const { bundle, dataset, store } = options;
  const encoderId = bundle.manifest.encoderId as EncoderId;
  const { columns, offsets, unknown } = knownEvents(bundle, dataset);
  const untilSeconds = options.untilSeconds ?? newest(columns.times) + 1;
  const since = options.sinceSeconds ?? (await store.readWatermark(encoderId)) ?? -Infinity;

  const active: { user: number; begin: number; end: number }[] = [];
  for (let user = 0; user < dataset.users.count; user++) {
    const begin = offsets[user]!;
    let end = offsets[user + 1]!;
    while (end > begin && columns.times[end - 1]! >= untilSeconds) end--;
    if (end > begin && columns.times[end - 1]! >= since) active.push({ user, begin, end });
  }

  const encoder = await openEncoder(options);
  const { model, stateType: type } = bundle.manifest;
  const frequency = frequencyWeights(bundle);
  const progress = startProgress('encode users', active.length, 'users');
  let encoded = 0;
  let written: Promise<void> = Promise.resolve();
  try {
    const { embeddingWidth: width, maxHistory } = model;
    const stored = newStateBatch(USERS_PER_BATCH, width, stateRows(model));
    for (let at = 0; at < active.length; at += USERS_PER_BATCH) {
      const batch = active.slice(at, at + USERS_PER_BATCH);
      const ids = batch.map(({ user }) => dataset.users.ids[user]! as UserId);
      // An explicit --since asks for these users again, whatever is stored.
      if (options.sinceSeconds === undefined) await store.read(encoderId, ids, stored);
      else stored.lengths.fill(0);
      const kept = await store.readHistories(ids);
      const outdated = batch
        .map((entry, i) => ({ ...entry, id: ids[i]!, i }))
        .filter(
          ({ end, i }) =>
            stored.lengths[i] === 0 ||
            stored.lastEventSeconds[i]! < columns.times[end - 1]! ||
            (options.histories === true && kept[i]?.complete !== true),
        )
        .map((entry) => ({ ...entry, columns, lastEventSeconds: columns.times[entry.end - 1]! }));
      // Users with events in the store, and all where histories are asked for: both sources together.
      const merging = outdated.filter(
        ({ i }) => options.histories === true || kept[i] !== undefined,
      );
      const merged = await mergeHistories(options, merging);
      const due = outdated.map((entry) => ({ ...entry, ...merged.get(entry.id) }));
      const histories = new HistoryBatchBuilder(maxHistory);
      for (const { columns: own, begin, end } of due) histories.add(own, begin, end);
      const states = encoder.encode(histories.batch());
      const write = async (): Promise<void> => {
        const encodedAtSeconds = Date.now() / 1000;
        const rows = await states;
        const entries = due.map(({ id, columns: own, begin, end, lastEventSeconds }, row) => ({
          user: id,
          state: {
            state: rows[row]!,
            dimensions: width,
            type,
            ...(frequency && { list: historyBoosts(own, begin, end, maxHistory, frequency) }),
            lastEventSeconds,
            encodedAtSeconds,
          },
        }));
        await store.write(encoderId, entries);
        encoded += due.length;
        progress.update(Math.min(active.length, at + USERS_PER_BATCH));
      };
      await written;
      written = write();
      // It is awaited with the next batch, or below.
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
    unknownItemEvents: unknown,
    watermarkSeconds: untilSeconds,
    seconds: (performance.now() - startedMs) / 1000,
  };
}

interface Merged {
  readonly columns: EventColumns;
  readonly begin: number;
  readonly end: number;
  readonly lastEventSeconds: number;
}

/**
 * Adds a dataset's events to the histories that the store keeps, and gives each user's together.
 *
 * The event before the window is kept, too: the gap of the oldest one that is encoded is counted from it.
 */
async function mergeHistories(
  options: EncodeUsersOptions,
  users: readonly {
    readonly id: UserId;
    readonly user: number;
    readonly lastEventSeconds: number;
  }[],
): Promise<ReadonlyMap<UserId, Merged>> {
  const { bundle, store } = options;
  const merged = new Map<UserId, Merged>();
  if (users.length === 0) return merged;
  const rows = new EventRows(bundle);
  const most = bundle.manifest.model.maxHistory + 1;
  const events = new Map(
    users.map(({ id, user, lastEventSeconds }) => [
      id,
      newestEvents(options, user, lastEventSeconds, most),
    ]),
  );
  await store.changeHistories([...events.keys()], (id, history) => {
    const { events: together } = mergeEvents(history?.events ?? [], events.get(id)!, most);
    const columns = rows.columns(together);
    const end = columns.times.length;
    // Of what came in over HTTP, unknown items may be all that is left; the dataset's known events can be encoded.
    if (end > 0)
      merged.set(id, { columns, begin: 0, end, lastEventSeconds: columns.times[end - 1]! });
    return { complete: true, events: together };
  });
  return merged;
}

/**
 * A user's newest events of the dataset, none later than `until`, by name. Those of items that the bundle does not know are left
 * out: they would take the place of what it can encode, and are in the data for a bundle that does.
 */
function newestEvents(
  { bundle, dataset }: EncodeUsersOptions,
  user: number,
  until: number,
  most: number,
): HistoryEvent[] {
  const { events, items } = dataset;
  const newest: HistoryEvent[] = [];
  for (let i = events.userOffsets[user + 1]! - 1; i >= events.userOffsets[user]!; i--) {
    if (newest.length === most) break;
    const item = items.ids[events.items[i]!]!;
    const time = events.times[i]!;
    if (time > until || bundle.catalogue.row(item) < 0) continue;
    newest.push({ item, action: events.actionNames[events.actions[i]!]!, time, id: '' });
  }
  return newest.reverse();
}

interface OpenEncoder {
  /** The state of each history, as the bundle's head reads them. */
  readonly encode: (batch: HistoryBatch) => Promise<Float32Array[]>;
  readonly dispose: () => void;
}

async function openEncoder({
  bundle,
  engine = 'native',
  precision,
  backend,
}: EncodeUsersOptions): Promise<OpenEncoder> {
  if (engine === 'native') {
    if (backend !== undefined)
      throw new TandemError(
        'ERR_INVALID_ARGUMENT',
        `Expected engine tfjs with a backend, received engine native with backend ${backend}. Add --engine tfjs.`,
      );
    const encoder = bundleHistoryEncoder(bundle, { ...(precision !== undefined && { precision }) });
    return {
      encode: (batch) => Promise.resolve(encoder.encode(batch)),
      dispose: () => undefined,
    };
  }
  if (precision === 'bf16')
    throw new TandemError(
      'ERR_INVALID_ARGUMENT',
      'Expected precision f32 for engine tfjs, received bf16. Choose the native engine for bf16.',
    );
  // Loaded here alone: the native engine needs nothing of tfjs.
  const { loadBundleModel } = await import('../model/bundle-model.ts');
  const model = await loadBundleModel(bundle, backend);
  return {
    encode: (batch) => model.encodeHistories(batch),
    dispose: () => {
      model.dispose();
    },
  };
}

/** The dataset's events in the bundle's rows, without those of items that the bundle does not know. */
function knownEvents(
  bundle: Bundle,
  dataset: Dataset,
): {
  columns: EventColumns & { readonly times: Float64Array };
  offsets: Int32Array;
  unknown: number;
} {
  const { events } = dataset;
  const rows = dataset.items.ids.map((id) => bundle.catalogue.row(id));
  const actions = new Vocabulary(bundle.schema.actions);
  const actionRows = events.actionNames.map((name) => actions.row(name) + 1);
  const items = new Int32Array(events.count);
  const actionColumn = new Int32Array(events.count);
  const times = new Float64Array(events.count);
  const offsets = new Int32Array(dataset.users.count + 1);
  let kept = 0;
  for (let user = 0; user < dataset.users.count; user++) {
    for (let i = events.userOffsets[user]!; i < events.userOffsets[user + 1]!; i++) {
      const row = rows[events.items[i]!]!;
      if (row < 0) continue;
      items[kept] = row;
      actionColumn[kept] = actionRows[events.actions[i]!]!;
      times[kept] = events.times[i]!;
      kept++;
    }
    offsets[user + 1] = kept;
  }
  if (kept === 0)
    throw new TandemError(
      'ERR_DATASET_INVALID',
      `Expected events of the ${bundle.catalogue.count} items of bundle ${bundle.manifest.bundleId.slice(0, 16)} in dataset "${dataset.name}", found none in ${events.count}. Encode the data that the bundle was trained on.`,
    );
  return {
    columns: {
      items: items.subarray(0, kept),
      actions: actionColumn.subarray(0, kept),
      times: times.subarray(0, kept),
    },
    offsets,
    unknown: events.count - kept,
  };
}

function newest(times: Float64Array): number {
  return times.reduce((latest, time) => Math.max(latest, time), -Infinity);
}
