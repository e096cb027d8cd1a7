// The types of answers as clients read them. response-schemas.ts describes them in /openapi.json.

/** The user's state that an answer was computed from. */
export interface AnswerState {
  readonly status: 'fresh' | 'stale' | 'missing' | 'version_mismatch';
  /** Seconds since the state was known to be complete; null without a state. */
  readonly age_seconds: number | null;
}

/** The fallback that an answer was computed with. */
export interface AnswerDegradation {
  readonly mode: 'previous-bundle' | 'context-only' | 'popular';
  readonly reason: string;
}

/** The members that all answers to queries have. */
export interface QueryResponse {
  readonly request_id: string;
  /** The bundle that answered. */
  readonly bundle_id: string;
  readonly state: AnswerState;
  readonly degraded: AnswerDegradation | null;
  /**
   * Members of the request that did not change the scores, because the bundle has no context layer
   * or does not know the subject.
   */
  readonly ignored?: readonly string[] | undefined;
}

/** One of the best items. */
export interface Candidate {
  readonly item: string;
  /**
   * Cosine similarity of query embedding and item vector, in [-1, 1]; higher is better. A bundle
   * with itemFrequency adds a boost for items in the history of the user. With plan "popular" it is
   * the number of events, divided by that of the most popular item.
   */
  readonly score: number;
  /** Only with `explain`. */
  readonly title?: string | undefined;
  /** Categories that the item shares with the subject. Only with `explain`. */
  readonly shared_categories?: readonly string[] | undefined;
}

/** How an answer was found. */
export interface AnswerExplanation {
  readonly plan_reason: string;
  /** Share of the catalogue that passes the filter, in [0, 1]. */
  readonly filter_selectivity: number;
  /** Requests in the micro-batch. */
  readonly batch_size: number;
  /** Milliseconds in each stage. */
  readonly stages_ms: Readonly<Record<string, number>>;
}

/** The answer to a request for candidates. */
export interface CandidatesResponse extends QueryResponse {
  /** How the items were searched: "exact", "clusters", "hnsw" or "popular". */
  readonly plan: string;
  /** Whether fewer than k items passed the filter. */
  readonly truncated: boolean;
  /** Best first. */
  readonly candidates: readonly Candidate[];
  /** Only with `explain`. */
  readonly explain?: AnswerExplanation | undefined;
}

/** The answer to a request for a query embedding. */
export interface EmbeddingsResponse extends QueryResponse {
  /** [D] query embedding, a unit vector. */
  readonly embedding: readonly number[];
}

/** The score of an item, or why it has none. */
export type ItemScore =
  | { readonly item: string; readonly score: number }
  | { readonly item: string; readonly error: AnswerError };

/** Why a part of a request has no answer. */
export interface AnswerError {
  /** An ErrorCode. */
  readonly code: string;
  readonly message: string;
  /** Path of the wrong member; null for the request as a whole. */
  readonly field: string | null;
  readonly request_id: string;
}

/** The answer to a request for scores. */
export interface ScoreResponse extends QueryResponse {
  /** In the order of the request. */
  readonly scores: readonly ItemScore[];
}
