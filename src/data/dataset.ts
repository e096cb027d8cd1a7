// The imported dataset as every reader sees it, whatever the columns of the source were. On disk it
// is a directory of normalised Parquet files and dataset.json: import.ts writes it, read-dataset.ts
// reads it.

/**
 * Items in catalogue order: an item row is a position here. Ragged columns are offsets and values.
 */
export interface ItemTable {
  readonly count: number;
  /** [N], unique, sorted, so that the same source gives the same rows. */
  readonly ids: readonly string[];
  /** [N], empty string when unknown. */
  readonly titles: readonly string[];
  /** [N], empty string when unknown. */
  readonly advertisers: readonly string[];
  /** [N], NaN when unknown. */
  readonly prices: Float64Array;
  /** Names of all categories, sorted. */
  readonly categoryNames: readonly string[];
  /** [N + 1]. */
  readonly categoryOffsets: Int32Array;
  /** Rows of categoryNames; by descending confidence within an item. */
  readonly categoryValues: Int32Array;
  /** Confidence of each value, in (0, 1]; 1 when the source has none. */
  readonly categoryConfidences: Float32Array;
  /** [N]; an empty list means everywhere. */
  readonly countries: readonly (readonly string[])[];
}

/** Users in order of id. */
export interface UserTable {
  readonly count: number;
  readonly ids: readonly string[];
  /** Years; NaN when unknown. */
  readonly ages: Float32Array;
  /** Empty string when unknown. */
  readonly genders: readonly string[];
  readonly countries: readonly string[];
}

/** Conversions, sorted by (user, time, position, source order). */
export interface EventTable {
  readonly count: number;
  /** [E] rows of UserTable, ascending. */
  readonly users: Int32Array;
  /** [E] item rows. */
  readonly items: Int32Array;
  /** [E] Unix seconds, ascending within a user; positions when the source has no time. */
  readonly times: Float64Array;
  /** [E] rows of actionNames. */
  readonly actions: Int32Array;
  /** [E], 1 when the source has none. */
  readonly values: Float32Array;
  /** Sorted; ['event'] when the source has no action column. */
  readonly actionNames: readonly string[];
  /** [users + 1]: the events of user u are [userOffsets[u], userOffsets[u + 1]). */
  readonly userOffsets: Int32Array;
}

export type Surface = 'related' | 'search';

/** What the user looks at: an item of the catalogue, interests, a query, or nothing known. */
export type Subject =
  | { readonly kind: 'item'; readonly item: number }
  | {
      readonly kind: 'interests';
      readonly interests: readonly { readonly category: string; readonly confidence: number }[];
    }
  | { readonly kind: 'query'; readonly query: string }
  | { readonly kind: 'none' };

export interface RequestRecord {
  readonly id: string;
  /** Row of UserTable, or -1 for a user without events and attributes. */
  readonly user: number;
  /** Unix seconds. */
  readonly time: number;
  readonly surface: Surface;
  readonly subject: Subject;
  /** Item rows, at least one, without duplicates. */
  readonly positives: readonly number[];
  /** Item rows that were shown to the user; empty when the source does not log them. */
  readonly delivered: readonly number[];
  /** As logged with the request; the user's own attributes stand in for absent fields. */
  readonly demographics: {
    readonly age?: number;
    readonly gender?: string;
    readonly country?: string;
  };
  /** Label that reports group by, e.g. "intent-differs"; empty when the source has none. */
  readonly slice: string;
}

export interface Dataset {
  readonly name: string;
  /** Absolute path of the directory that it was read from. */
  readonly directory: string;
  /** SHA-256 over the data files: names the data in checkpoints and reports. */
  readonly digest: string;
  readonly items: ItemTable;
  readonly users: UserTable;
  readonly events: EventTable;
  /** Sorted by (time, id); empty when the source has none. */
  readonly requests: readonly RequestRecord[];
  /** True when event times are real times, false when they are positions only. */
  readonly hasTime: boolean;
  /**
   * Unix seconds: events before it are for training, requests at or after it for testing. NaN when
   * the source names none.
   */
  readonly testFrom: number;
}
