// The types of requests and frames after parsing, and their limits. The zod schemas are in the
// other files of this folder.

import type { ItemChange } from '../../store/item-changes.ts';

export const MAX_CANDIDATES = 1000;
export const DEFAULT_CANDIDATES = 100;
export const MAX_BATCH_REQUESTS = 1024;
export const MAX_SCORED_ITEMS = 1000;
export const MAX_INGESTED_EVENTS = 1024;
export const MAX_CHANGED_ITEMS = 1024;

export interface Filter {
  readonly countries?: readonly string[] | undefined;
  readonly advertisers?:
    | {
        readonly in?: readonly string[] | undefined;
        readonly out?: readonly string[] | undefined;
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
  readonly min_price?: number | undefined;
  readonly max_price?: number | undefined;
}

/** Exactly one member is present. */
export interface RequestSubject {
  readonly item?: string | undefined;
  readonly interests?:
    readonly { readonly category: string; readonly confidence: number }[] | undefined;
  readonly query?: string | undefined;
}

export interface RequestDemographics {
  readonly age?: number | undefined;
  readonly country?: string | undefined;
  readonly gender?: string | undefined;
}

/** The members that the query tower reads. */
export interface QueryRequest {
  readonly user: string;
  readonly surface: 'related' | 'search';
  readonly subject?: RequestSubject | undefined;
  readonly demographics?: RequestDemographics | undefined;
}

export interface CandidatesRequest extends QueryRequest {
  readonly kind: 'candidates';
  readonly k: number;
  readonly filter?: Filter | undefined;
  readonly explain: boolean;
}

export interface EmbeddingsRequest extends QueryRequest {
  readonly kind: 'embeddings';
}

export interface ScoreRequest extends QueryRequest {
  readonly kind: 'score';
  readonly items: readonly string[];
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
