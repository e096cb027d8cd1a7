// The two protocols of docs/explanation/evaluation.md: which requests are evaluated, what was known
// at their time, and which items are candidates.

import type { ModelConfig } from '../bundle/manifest.ts';
import type { Dataset } from '../data/dataset.ts';
import { dayStart, eventsBefore, lastEventsSplit, timeCutSplit } from '../data/splits.ts';
import { TandemError } from '../errors.ts';
import { DAY_SECONDS } from '../time.ts';
import type { EvaluationQuery, EvaluationSet } from './query.ts';

/** Length of the validation split of timeProtocol: the days before the test period. */
const VALIDATION_DAYS = 14;

/**
 * Leave one out, for comparison with papers: the last event of each user is the test positive, the
 * one before it the validation positive. Users with fewer than three events are not evaluated;
 * their events stay in training.
 *
 * All items are candidates except those in the user's history; a positive that the user has had
 * before stays a candidate. Training ends before the validation event in both splits; for `test`
 * the history includes it, as in the papers.
 */
export function tableProtocol(dataset: Dataset, split: 'validation' | 'test'): EvaluationSet {
  const queries = heldOutQueries(dataset, split);
  requireQueries(queries, dataset, 'users with at least three events');
  return {
    protocol: 'table',
    split,
    description: 'leave one out, all items ranked',
    queries,
    candidates: new Uint8Array(dataset.items.count).fill(1),
    trainEnd: lastEventsSplit(dataset, 'validation').trainEnd,
    cutSeconds: Number.NaN,
    seenFilter: "items of the user's history are not ranked, unless they are the positive",
    seenLeftOut: true,
    dropped: { 'fewer than three events': dataset.users.count - queries.length },
  };
}

/** Which requests timeProtocol evaluates, and which items it ranks. */
export interface TimeProtocolOptions {
  /** `discovery` leaves out items that the user has had before, as positives and as candidates. */
  readonly form: 'all' | 'discovery';
  /**
   * Unix seconds. Requests from the start of its UTC day on are evaluated. The dataset's testFrom
   * when absent.
   */
  readonly from?: number;
  /** Unix seconds. Only requests before it are evaluated. */
  readonly until?: number;
  /** Printed in the report; `test` when absent. */
  readonly split?: 'validation' | 'test';
}

/**
 * A cut in time, with real contexts: each request knows the events that a batch knew at 00:00 UTC
 * of its day.
 *
 * Candidates are the items with an event before the cut (the start of `from`'s day), without the
 * request's subject. Positives that are not candidates are dropped. Requests without a remaining
 * positive are dropped and counted.
 *
 * @throws TandemError ERR_DATASET_INVALID without times, requests or a cut.
 */
export function timeProtocol(dataset: Dataset, options: TimeProtocolOptions): EvaluationSet {
  const { form, until = Infinity } = options;
  const cut = cutOf(dataset, options.from);
  const trainEnd = timeCutSplit(dataset, cut);
  const candidates = new Uint8Array(dataset.items.count);
  addItemsBefore(candidates, dataset, trainEnd);
  const { queries, dropped } = requestQueries(dataset, { form, from: cut, until }, candidates);
  requireQueries(
    queries,
    dataset,
    `requests with candidates among their positives from ${isoTime(cut)} on`,
  );
  return {
    protocol: 'time',
    split: options.split ?? 'test',
    description:
      `${form}: requests from ${isoTime(cut)}` +
      `${Number.isFinite(until) ? ` to ${isoTime(until)}` : ''}, ` +
      "states as of 00:00 UTC of the request's day, " +
      'candidates are items with an event before the cut, without the subject',
    queries,
    candidates,
    trainEnd,
    cutSeconds: cut,
    seenFilter:
      form === 'all'
        ? 'none but the subject'
        : "items of the user's earlier days are neither positives nor candidates",
    seenLeftOut: form === 'discovery',
    dropped: { 'no positive left': dropped },
  };
}

/**
 * The time window of the validation split of timeProtocol: the last days before the test period, so
 * that tuning never sees the test period.
 */
export function validationWindow(dataset: TimedData): { from: number; until: number } {
  const until = cutOf(dataset);
  return { from: until - VALIDATION_DAYS * DAY_SECONDS, until };
}

/**
 * Refuses a model with itemFrequency in the table protocol. This protocol ranks an item of the
 * user's history only if it is a positive, so the frequency of an item reveals the label.
 *
 * @throws TandemError ERR_CONFIG_INVALID for itemFrequency in the table protocol.
 */
export function refuseItemFrequencyInTable(
  protocol: EvaluationSet['protocol'],
  model: Pick<ModelConfig, 'itemFrequency'>,
): void {
  if (protocol === 'table' && model.itemFrequency === true)
    throw new TandemError(
      'ERR_CONFIG_INVALID',
      'Expected a model without itemFrequency for the table protocol, received one with it. ' +
        'There, the only item of a history that is ranked is a positive, so its frequency ' +
        'reveals the label. Choose the time protocol, or set model.itemFrequency to false.',
    );
}

/** The queries of tableProtocol, by user. Also works on a shard. */
export function heldOutQueries(dataset: Dataset, split: 'validation' | 'test'): EvaluationQuery[] {
  const { events } = dataset;
  const { trainEnd: historyEnd, heldOut } = lastEventsSplit(dataset, split);
  const queries: EvaluationQuery[] = [];
  for (let user = 0; user < dataset.users.count; user++) {
    const event = heldOut[user]!;
    if (event < 0) continue;
    const positive = events.items[event]!;
    const begin = events.userOffsets[user]!;
    const end = historyEnd[user]!;
    queries.push({
      id: dataset.users.ids[user]!,
      user,
      historyBegin: begin,
      historyEnd: end,
      timeSeconds: events.times[event]!,
      subject: { kind: 'none' },
      demographics: {},
      positives: Int32Array.of(positive),
      excluded: distinctItems(events.items, begin, end, new Set([positive])),
      slice: '',
    });
  }
  return queries;
}

/**
 * The queries of timeProtocol, by time, and how many requests have no positive left. Also works on
 * a shard.
 *
 * @param candidates - [N], 1 = candidate.
 */
export function requestQueries(
  dataset: Dataset,
  { form, from, until }: { form: 'all' | 'discovery'; from: number; until: number },
  candidates: Uint8Array,
): { queries: EvaluationQuery[]; dropped: number } {
  const { events } = dataset;
  const queries: EvaluationQuery[] = [];
  let dropped = 0;
  for (const request of dataset.requests) {
    if (request.time < from || request.time >= until) continue;
    const subject = request.subject.kind === 'item' ? request.subject.item : -1;
    const begin = request.user < 0 ? 0 : events.userOffsets[request.user]!;
    const end = begin + eventsBefore(dataset, request.user, dayStart(request.time));
    const excluded = new Set<number>();
    if (form === 'discovery') for (let i = begin; i < end; i++) excluded.add(events.items[i]!);
    if (subject >= 0) excluded.add(subject);
    const positives = new Set<number>();
    for (const item of request.positives)
      if (candidates[item] === 1 && !excluded.has(item)) positives.add(item);
    if (positives.size === 0) {
      dropped++;
      continue;
    }
    queries.push({
      id: request.id,
      user: request.user,
      historyBegin: begin,
      historyEnd: end,
      timeSeconds: request.time,
      subject: request.subject,
      demographics: request.demographics,
      positives: Int32Array.from(positives),
      excluded: Int32Array.from(excluded),
      slice: request.slice,
    });
  }
  return { queries, dropped };
}

/**
 * Marks the items with a training event: they are the candidates of timeProtocol.
 *
 * @param candidates - [N], of all shards; changed in place.
 */
export function addItemsBefore(
  candidates: Uint8Array,
  { events, users }: Dataset,
  trainEnd: Int32Array,
): void {
  for (let user = 0; user < users.count; user++)
    for (let i = events.userOffsets[user]!; i < trainEnd[user]!; i++)
      candidates[events.items[i]!] = 1;
}

type TimedData = Pick<Dataset, 'name' | 'testFrom'>;

/**
 * The cut of timeProtocol, in Unix seconds: the start of the day of `from`, or of the test period
 * when absent.
 */
export function cutOf(dataset: TimedData, from: number = dataset.testFrom): number {
  if (!Number.isFinite(from))
    throw new TandemError(
      'ERR_DATASET_INVALID',
      `Expected a time where the test period of ${dataset.name} starts, received none. ` +
        'Set testFrom in its manifest, or use the table protocol.',
    );
  return dayStart(from);
}

function distinctItems(
  items: Int32Array,
  begin: number,
  end: number,
  except: ReadonlySet<number>,
): Int32Array {
  const found = new Set<number>();
  for (let i = begin; i < end; i++) if (!except.has(items[i]!)) found.add(items[i]!);
  return Int32Array.from(found);
}

function isoTime(seconds: number): string {
  return `${new Date(seconds * 1000).toISOString().slice(0, 19)}Z`;
}

function requireQueries(queries: readonly unknown[], dataset: Dataset, what: string): void {
  if (queries.length === 0)
    throw new TandemError(
      'ERR_DATASET_INVALID',
      `Expected ${what} to evaluate on, found none in ${dataset.name}. ` +
        'Choose the other protocol, or import requests.',
    );
}
