// The daily batch: encodes the histories of users into the feature store, whenever they have events
// that their stored states have not seen.
//
// The store keeps a digest of the events that each state was computed from. The job compares it
// with the digest of the events at hand, so neither the order in which events arrive nor their
// times decide who is encoded. The job needs no record of its progress: a job that was killed
// encodes the remaining users when it runs again, and ends in the same states.

import { bundleStateFormat } from '../bundle/weights/state-format.ts';
import type { Dataset } from '../data/dataset.ts';
import { historyDigest } from '../features/history-digest.ts';
import { HistoryBatchBuilder } from '../features/sequence.ts';
import { makeUserState, type EventRange, type StateFormat } from '../features/user-state.ts';
import type { EncoderId } from '../ids.ts';
import type { StateSummary } from '../store/codec.ts';
import type { UserHistory } from '../store/history.ts';
import type {
  HistoryStore,
  StateStore,
  StateSummaryStore,
  WatermarkStore,
} from '../store/store.ts';
import { startProgress } from '../telemetry.ts';
import { latestSeconds } from '../time.ts';
import { knownEvents, type KnownEvents } from './known-events.ts';
import { HistoryMerger, type UserToMerge } from './merge-histories.ts';
import { openEncoder, type EncoderOptions, type OpenEncoder } from './open-encoder.ts';

export interface EncodeUsersOptions extends EncoderOptions {
  readonly dataset: Dataset;
  readonly store: StateStore & StateSummaryStore & HistoryStore & WatermarkStore;
  /** Unix seconds: the job reads only events before this time. Default: all events. */
  readonly untilSeconds?: number;
  /**
   * Unix seconds: the job encodes all users with an event at or after this time, whatever their
   * states have seen. By default, it encodes users with events that their states have not seen.
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
  /** Users who were encoded or skipped. */
  readonly active: number;
  readonly encoded: number;
  /** Users with an event since the last finished job whose states had seen it already. */
  readonly skipped: number;
  /** Events of items that the bundle's catalogue does not have. */
  readonly unknownItemEvents: number;
  /** Unix seconds up to which the states now include the events of the data. */
  readonly watermarkSeconds: number;
  readonly seconds: number;
}

/** Users that are encoded together; their states are written while the next batch is encoded. */
const USERS_PER_BATCH = 512;

/** A user of the dataset with the events [begin, end) that the job sees, at least one. */
interface ActiveUser extends UserToMerge, EventRange {}

interface DueUser extends ActiveUser {
  /** Whether the store has, or shall have, a history of the user. */
  readonly inHistories: boolean;
  /** The state to replace; undefined when there is none, or when it may know more. */
  readonly state: StateSummary | undefined;
}

/**
 * Encodes the users with events that their states have not seen, then sets the encoder's watermark.
 *
 * @throws TandemError ERR_DATASET_INVALID when the bundle knows no item of the events;
 *   ERR_INVALID_ARGUMENT for bf16 with engine tfjs, or a backend with engine native;
 *   ERR_BACKEND_UNAVAILABLE; errors of the store.
 */
export async function encodeUsers(options: EncodeUsersOptions): Promise<EncodeUsersReport> {
  const startedMs = performance.now();
  const { bundle, dataset, store } = options;
  const known = knownEvents(bundle, dataset);
  const times = timesOf(options, known);
  const encoderId = bundle.manifest.encoderId as EncoderId;
  const finishedUntil = (await store.readWatermark(encoderId)) ?? -Infinity;
  const job = new Job(options, await openEncoder(options));
  const progress = startProgress('encode users', dataset.users.count, 'users');
  let skipped = 0;
  try {
    for (const batch of activeUsers(dataset, known, options.sinceSeconds, times.until)) {
      const due = await job.outdated(batch);
      const isDue = new Set(due.map(({ id }) => id));
      for (const { id, lastEventSeconds } of batch)
        if (!isDue.has(id) && lastEventSeconds >= finishedUntil) skipped++;
      await job.encode(due);
      progress.update(batch.at(-1)!.user + 1);
    }
    await job.finish();
    await store.writeWatermark(encoderId, times.watermark);
  } finally {
    await job.settle();
    progress.end(`${job.encoded} encoded`);
  }
  return {
    active: job.encoded + skipped,
    encoded: job.encoded,
    skipped,
    unknownItemEvents: known.unknown,
    watermarkSeconds: times.watermark,
    seconds: (performance.now() - startedMs) / 1000,
  };
}

/** Finds the users whose states are outdated, and encodes them in batches. */
class Job {
  readonly #options: EncodeUsersOptions;
  readonly #encoder: OpenEncoder;
  readonly #encoderId: EncoderId;
  readonly #format: StateFormat;
  readonly #merger: HistoryMerger;
  /** Users who wait for a full batch. */
  #due: DueUser[] = [];
  /** The write of the last batch. */
  #written: Promise<void> = Promise.resolve();
  encoded = 0;

  constructor(options: EncodeUsersOptions, encoder: OpenEncoder) {
    const { bundle } = options;
    this.#options = options;
    this.#encoder = encoder;
    this.#encoderId = bundle.manifest.encoderId as EncoderId;
    this.#format = bundleStateFormat(bundle);
    this.#merger = new HistoryMerger(options);
  }

  /** The users of a batch whose states, or histories, do not have all events at hand. */
  async outdated(batch: readonly ActiveUser[]): Promise<DueUser[]> {
    const { store, sinceSeconds, histories = false } = this.#options;
    const ids = batch.map(({ id }) => id);
    const states =
      sinceSeconds === undefined ? await store.readSummaries(this.#encoderId, ids) : [];
    const kept = await store.readHistories(ids);
    const due: DueUser[] = [];
    for (const [i, user] of batch.entries()) {
      const [state, history] = [states[i], kept[i]];
      const inHistories = histories || history !== undefined;
      const isMissing = inHistories && history?.complete !== true;
      const knowsMore = history?.complete !== true && this.#hasSeenNewer(state, user);
      const isUpToDate =
        sinceSeconds === undefined && (knowsMore || this.#hasSeenAll(state, user, history));
      if (isMissing || !isUpToDate)
        due.push({ ...user, inHistories, state: knowsMore ? undefined : state });
    }
    return due;
  }

  /** Whether a state has seen the events of the dataset and of the history. */
  #hasSeenAll(
    state: StateSummary | undefined,
    user: ActiveUser,
    history: UserHistory | undefined,
  ): boolean {
    if (state === undefined) return false;
    const seen = (events: EventRange): boolean =>
      historyDigest(events, this.#format.maxHistory) === state.historyDigest;
    // Most histories have the events of the dataset, and need no merging.
    if (seen(user) && (history === undefined || seen(this.#merger.known(history)))) return true;
    return history !== undefined && seen(this.#merger.merged(user, history));
  }

  /**
   * Whether a state has seen a newer event than the dataset has: the dataset is older, or `--until`
   * leaves the event out. A time in the future was a clock's mistake, and positions are no times.
   */
  #hasSeenNewer(state: StateSummary | undefined, { lastEventSeconds }: ActiveUser): boolean {
    return (
      state !== undefined &&
      this.#options.dataset.hasTime &&
      state.lastEventSeconds > lastEventSeconds &&
      state.lastEventSeconds <= latestSeconds()
    );
  }

  /** Encodes all full batches of the users so far. */
  async encode(due: readonly DueUser[]): Promise<void> {
    this.#due.push(...due);
    while (this.#due.length >= USERS_PER_BATCH) await this.#encodeNext();
  }

  /** Encodes the remaining users, and waits until everything is written. */
  async finish(): Promise<void> {
    if (this.#due.length > 0) await this.#encodeNext();
    await this.#written;
  }

  /** Waits for the last write, whether it fails or not, and ends the encoder. */
  async settle(): Promise<void> {
    await this.#written.catch(() => undefined);
    this.#encoder.dispose();
  }

  async #encodeNext(): Promise<void> {
    const { store } = this.#options;
    const batch = this.#due.splice(0, USERS_PER_BATCH);
    const encodedAtSeconds = Date.now() / 1000;
    const merged = await this.#merger.write(
      store,
      batch.filter(({ inHistories }) => inHistories),
    );
    const entries = batch.map((user) => ({ user, events: merged.get(user.id) ?? user }));
    const histories = new HistoryBatchBuilder(this.#format.maxHistory);
    for (const { events } of entries) histories.add(events.columns, events.begin, events.end);
    const states = this.#encoder.encode(histories.batch());
    const write = async (): Promise<void> => {
      const all = await states;
      await store.write(
        this.#encoderId,
        entries.map(({ user: { id, state }, events }, i) => ({
          user: id,
          state: makeUserState(all[i]!, events, this.#format, encodedAtSeconds),
          historyDigest: historyDigest(events, this.#format.maxHistory),
          ...(state !== undefined && { replaces: state.checksum }),
        })),
      );
      this.encoded += entries.length;
    };
    await this.#written;
    this.#written = write();
    // The next batch, or finish(), awaits the promise and its error.
    this.#written.catch(() => undefined);
  }
}

/** The end of the events that the job reads, and the watermark that it leaves. */
function timesOf(
  { dataset, untilSeconds = Infinity }: EncodeUsersOptions,
  { columns }: KnownEvents,
): { readonly until: number; readonly watermark: number } {
  const nowSeconds = Date.now() / 1000;
  // Positions say nothing about the age of the data.
  if (!dataset.hasTime) return { until: untilSeconds, watermark: nowSeconds };
  // A dataset of an older version may have events of the future.
  const until = Math.min(untilSeconds, latestSeconds(nowSeconds));
  let newest = -Infinity;
  for (const time of columns.times) if (time < until && time > newest) newest = time;
  const watermark = Number.isFinite(untilSeconds) ? until : newest + 1;
  return { until, watermark: Number.isFinite(watermark) ? watermark : until };
}

/**
 * Users with an event in [since, until), each with the events before `until`, in batches in the
 * order of the dataset.
 */
function* activeUsers(
  dataset: Dataset,
  { columns, offsets }: KnownEvents,
  since = -Infinity,
  until: number,
): Generator<ActiveUser[]> {
  let batch: ActiveUser[] = [];
  for (let user = 0; user < dataset.users.count; user++) {
    const begin = offsets[user]!;
    let end = offsets[user + 1]!;
    while (end > begin && columns.times[end - 1]! >= until) end--;
    if (end === begin || columns.times[end - 1]! < since) continue;
    const lastEventSeconds = columns.times[end - 1]!;
    const id = dataset.users.ids[user]! as ActiveUser['id'];
    batch.push({ id, user, columns, begin, end, lastEventSeconds });
    if (batch.length < USERS_PER_BATCH) continue;
    yield batch;
    batch = [];
  }
  if (batch.length > 0) yield batch;
}
