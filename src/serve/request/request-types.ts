// The types of requests and frames after parsing, and their limits. The zod schemas are in the
// other files of this folder.

import type { ItemChange } from '../../store/item-changes.ts';

export const MAX_CANDIDATES = 1000;
export const DEFAULT_CANDIDATES = 100;
export const MAX_BATCH_REQUESTS = 1024;
export const MAX_SCORED_ITEMS = 1000;
export const MAX_INGESTED_EVENTS = 1024;
export const MAX_CHANGED_ITEMS = 1024;

/** Which items may be candidates. Every clause must hold. */
export interface Filter {
  /** Items that target any of these countries, or every country. */
  readonly countries?: readonly string[] | undefined;
  readonly advertisers?:
    | {
        readonly in?: readonly string[] | undefined;
        readonly out?: readonly string[] | undefined;
        /** The most candidates of one advertiser. The best of each advertiser are kept. */
        readonly max_each?: number | undefined;
      }
    | undefined;
  readonly categories?:
    | {
        readonly any?: readonly string[] | undefined;
        readonly none?: readonly string[] | undefined;
      }
    | undefined;
  readonly exclude_items?: readonly string[] | undefined;
  /** An item without a known price does not pass. */
  readonly min_price?: number | undefined;
  /** An item without a known price does not pass. */
  readonly max_price?: number | undefined;
}

/** What the user looks at. Exactly one member is present. */
export interface RequestSubject {
  /** Id of an item of the catalogue. */
  readonly item?: string | undefined;
  /** Categories with confidences in [0, 1]. Unknown categories are skipped. */
  readonly interests?:
    readonly { readonly category: string; readonly confidence: number }[] | undefined;
  /** A search query as the user typed it. */
  readonly query?: string | undefined;
}

/** What is known about the user besides the history. Unknown values count as absent. */
export interface RequestDemographics {
  /** Years. */
  readonly age?: number | undefined;
  readonly country?: string | undefined;
  readonly gender?: string | undefined;
}

/** The members that the query tower reads. */
export interface QueryRequest {
  /** Id of the user. A user without a state is a cold start. */
  readonly user: string;
  /** Where the candidates are shown: beside an item, or in a search. */
  readonly surface: 'related' | 'search';
  /** Without a subject, candidates follow from history alone. */
  readonly subject?: RequestSubject | undefined;
  readonly demographics?: RequestDemographics | undefined;
}

/** A request for candidates as a client sends it. */
export interface CandidatesQuery extends QueryRequest {
  /** Number of candidates, at most 1,000. Default 100. */
  readonly k?: number | undefined;
  readonly filter?: Filter | undefined;
  /** Whether the answer says how it was found. Default false. */
  readonly explain?: boolean | undefined;
}

/** A request for scores as a client sends it. */
export interface ScoreQuery extends QueryRequest {
  /** Ids of the items to score, 1 to 1,000. The scores have the same order. */
  readonly items: readonly string[];
}

export interface CandidatesRequest extends CandidatesQuery {
  readonly kind: 'candidates';
  readonly k: number;
  readonly explain: boolean;
}

export interface EmbeddingsRequest extends QueryRequest {
  readonly kind: 'embeddings';
}

export interface ScoreRequest extends ScoreQuery {
  readonly kind: 'score';
}

/** A request to the pipeline. Its kind decides what happens after the head. */
export type PipelineRequest = CandidatesRequest | EmbeddingsRequest | ScoreRequest;

/** A new event. */
export interface IngestedEvent {
  readonly user: string;
  readonly item: string;
  readonly action?: string | undefined;
  /** Unix seconds. The default is now. */
  readonly time?: number | undefined;
  readonly event_id?: string | undefined;
}

/** A new or replaced item; an item without a record is to be deleted. */
export type ChangedItem = Pick<ItemChange, 'item' | 'record'>;

export interface HelloFrame {
  readonly type: 'hello';
  readonly user: string;
  readonly demographics?: RequestDemographics | undefined;
  readonly filter?: Filter | undefined;
  readonly k?: number | undefined;
  readonly encoding: 'json' | 'binary';
  readonly deltas: boolean;
}

export interface SubjectFrame {
  readonly type: 'subject';
  readonly id: string | number;
  readonly surface: 'related' | 'search';
  readonly subject?: RequestSubject | undefined;
  readonly k?: number | undefined;
  readonly timeout_ms?: number | undefined;
  readonly explain: boolean;
}

export type Frame = HelloFrame | SubjectFrame;
