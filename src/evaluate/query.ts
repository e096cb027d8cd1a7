// The query that every scorer answers, and the set of queries that a protocol makes.

import type { RequestRecord, Subject } from '../data/dataset.ts';

/**
 * One request of the evaluation: what the scorer may know, and the positives that it is judged on.
 */
export interface EvaluationQuery {
  readonly id: string;
  /** Row of UserTable, or -1 for a user without events and attributes. */
  readonly user: number;
  /**
   * The state is computed from the events [historyBegin, historyEnd) of EventTable. Both are equal
   * for a cold start.
   */
  readonly historyBegin: number;
  readonly historyEnd: number;
  /** Unix seconds of the request. */
  readonly timeSeconds: number;
  readonly subject: Subject;
  /** As logged with the request. Absent fields fall back to the user's. */
  readonly demographics: RequestRecord['demographics'];
  /** Catalogue rows to find: at least one, distinct, ranked like every other candidate. */
  readonly positives: Int32Array;
  /**
   * Catalogue rows that are not ranked for this query, in addition to those that the set leaves
   * out.
   */
  readonly excluded: Int32Array;
  /** Label in the data that reports group by; empty when there is none. */
  readonly slice: string;
}

/** The queries of one protocol, and the training events that models and baselines may use. */
export interface EvaluationSet {
  readonly protocol: 'table' | 'time';
  readonly split: 'validation' | 'test';
  /** A description of what is ranked, printed in every report. */
  readonly description: string;
  readonly queries: readonly EvaluationQuery[];
  /** [N], 1 = ranked. */
  readonly candidates: Uint8Array;
  /**
   * [users]: baselines and models may learn from the events [userOffsets[u], trainEnd[u]) of user
   * u.
   */
  readonly trainEnd: Int32Array;
  /**
   * Unix seconds at which training events end; NaN for the table protocol, which has no global cut.
   */
  readonly cutSeconds: number;
  /** A description of what the protocol leaves out of the ranking because the user has seen it. */
  readonly seenFilter: string;
  /** Whether items of the user's history are left out. If so, repeat purchases cannot be found. */
  readonly seenLeftOut: boolean;
  /** Number of requests or users that the protocol left out, by reason. */
  readonly dropped: Readonly<Record<string, number>>;
}

/** Scores every item of the catalogue for a query; higher is better. */
export interface Scorer {
  readonly name: string;
  /**
   * Scores a block of Q queries.
   *
   * @param out - [Q, N] f32, row-major, owned by the caller. Overwritten in full with finite
   *   numbers.
   */
  score(queries: readonly EvaluationQuery[], out: Float32Array): void | Promise<void>;
}
