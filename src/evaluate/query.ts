// What is ranked for whom: the query that every scorer answers, and the set of them that a protocol makes.

import type { RequestRecord, Subject } from '../data/dataset.ts';

/** One request of the evaluation, with what the scorer may know and what it is judged on. */
export interface EvaluationQuery {
  readonly id: string;
  /** Row of UserTable, or -1 for a user without events and attributes. */
  readonly user: number;
  /** The state knows the events [historyBegin, historyEnd) of EventTable; equal for a cold start. */
  readonly historyBegin: number;
  readonly historyEnd: number;
  /** Unix seconds of the request. */
  readonly timeSeconds: number;
  readonly subject: Subject;
  /** As logged with the request; absent fields fall back to the user's. */
  readonly demographics: RequestRecord['demographics'];
  /** Item rows to find, at least one, distinct, ranked like every other candidate. */
  readonly positives: Int32Array;
  /** Item rows that are not ranked for this query, beside those the set leaves out for all. */
  readonly excluded: Int32Array;
  /** Label of the data that reports group by; empty when it has none. */
  readonly slice: string;
}

/** The queries of one protocol, and what was known when the models and the baselines were made. */
export interface EvaluationSet {
  readonly protocol: 'table' | 'time';
  readonly split: 'validation' | 'test';
  /** What is ranked, in words; printed in every report. */
  readonly description: string;
  readonly queries: readonly EvaluationQuery[];
  /** [N], 1 = ranked. */
  readonly candidates: Uint8Array;
  /** [users]: baselines and models may learn from the events [userOffsets[u], trainEnd[u]) of user u. */
  readonly trainEnd: Int32Array;
  /** Unix seconds where training events end; NaN for the table protocol, which has no global cut. */
  readonly cutSeconds: number;
  /** What the protocol keeps out of the ranking because the user has seen it, in words. */
  readonly seenFilter: string;
  /** Whether items of the user's history are left out; repeat purchases cannot be found then. */
  readonly seenLeftOut: boolean;
  /** Requests or users that the protocol left out, by reason. */
  readonly dropped: Readonly<Record<string, number>>;
}

/** Gives every item of the catalogue a number for a query; higher is better. */
export interface Scorer {
  readonly name: string;
  /**
   * Scores a block of queries.
   *
   * @param out - [Q, N] f32, row-major, overwritten in full with finite numbers; owned by the caller.
   */
  score(queries: readonly EvaluationQuery[], out: Float32Array): void | Promise<void>;
}
