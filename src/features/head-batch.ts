// A micro-batch of requests in the layout that the head reads. tfjs, the native head and the
// goldens use the same arrays.

import type { SubjectBag } from './context.ts';

/** A micro-batch of B requests. The head reads every array in place and keeps none. */
export interface HeadBatch {
  /** B. */
  readonly count: number;
  /** [B, D] user states, or the newest row of each sequence; ignored for a user without a state. */
  readonly states: Float32Array;
  /** [B] 1 where `states` holds a state, 0 where the cold-start vector takes its place. */
  readonly hasState: Uint8Array;
  /** [B] ages in [0, 1] from stateAge(); ignored where there is no state. */
  readonly stateAge: Float32Array;
  /** [B + 1] offsets into subjectRows and subjectWeights, ascending from 0. */
  readonly subjectOffsets: Int32Array;
  /** [subjectOffsets[B]] rows of the subject table. */
  readonly subjectRows: Int32Array;
  /** [subjectOffsets[B]] weights, finite, >= 0. */
  readonly subjectWeights: Float32Array;
  /** [B, 3] rows of age bucket, country and gender. */
  readonly demographics: Int32Array;
  /** [B] catalogue row of the item in view, -1 without one; read by models with subjectItem. */
  readonly subjectItems?: Int32Array;
  /**
   * [B + 1] offsets into sequenceRows, ascending from 0; only for fusion attention. Request b has
   * the rows [offsets[b], offsets[b + 1]), oldest first. Its state is the last row; without rows it
   * is a cold start. The native head then reads the sequences instead of states and hasState.
   */
  readonly sequenceOffsets?: Int32Array;
  /** [sequenceOffsets[B], D] states of all events of the histories, one history after another. */
  readonly sequenceRows?: Float32Array;
}

/**
 * Collects requests in reusable arrays, which grow when needed. batch() gives views of the requests
 * that were added since clear().
 */
export class HeadBatchBuilder {
  readonly #width: number;
  readonly #sequences: boolean;
  #states: Float32Array;
  #hasState: Uint8Array;
  #stateAge: Float32Array;
  #offsets: Int32Array;
  #demographics: Int32Array;
  #subjectItems: Int32Array;
  #rows = new Int32Array(256);
  #weights = new Float32Array(256);
  #sequenceOffsets = new Int32Array(1);
  #sequenceRows = new Float32Array(0);
  #count = 0;

  /**
   * @param width - D.
   * @param capacity - number of requests to allocate for at first.
   * @param sequences - whether batches also have sequences.
   */
  constructor(width: number, capacity: number, sequences = false) {
    this.#width = width;
    this.#sequences = sequences;
    this.#states = new Float32Array(capacity * width);
    this.#hasState = new Uint8Array(capacity);
    this.#stateAge = new Float32Array(capacity);
    this.#offsets = new Int32Array(capacity + 1);
    this.#demographics = new Int32Array(capacity * 3);
    this.#subjectItems = new Int32Array(capacity);
  }

  /** Requests since clear(). */
  get count(): number {
    return this.#count;
  }

  /** Removes all requests; keeps the arrays. */
  clear(): void {
    this.#count = 0;
  }

  /**
   * Adds one request.
   *
   * @param state - [L, D], oldest row first, or undefined for a cold start.
   * @param stateAge - in [0, 1]; ignored for a cold start, which has age 0.
   * @param demographics - rows of the three demographic tables.
   * @param subjectItem - catalogue row of the item in view, -1 without one.
   */
  add(
    state: Float32Array | undefined,
    stateAge: number,
    subject: SubjectBag,
    demographics: readonly [number, number, number],
    subjectItem = -1,
  ): void {
    const index = this.#count;
    if (index === this.#hasState.length) this.#grow();
    const stateAt = index * this.#width;
    if (state === undefined) this.#states.fill(0, stateAt, stateAt + this.#width);
    else this.#states.set(state.subarray(-this.#width), stateAt);
    if (this.#sequences) this.#addSequence(index, state);
    this.#hasState[index] = state === undefined ? 0 : 1;
    this.#stateAge[index] = state === undefined ? 0 : stateAge;
    const begin = this.#offsets[index]!;
    const end = begin + subject.rows.length;
    while (end > this.#rows.length) {
      this.#rows = enlarged(this.#rows, new Int32Array(this.#rows.length * 2));
      this.#weights = enlarged(this.#weights, new Float32Array(this.#weights.length * 2));
    }
    this.#rows.set(subject.rows, begin);
    this.#weights.set(subject.weights, begin);
    this.#offsets[index + 1] = end;
    this.#demographics.set(demographics, index * 3);
    this.#subjectItems[index] = subjectItem;
    this.#count = index + 1;
  }

  /** Views of the arrays, valid until the next clear() or add(). */
  batch(): HeadBatch {
    const count = this.#count;
    const used = this.#offsets[count]!;
    return {
      count,
      states: this.#states.subarray(0, count * this.#width),
      hasState: this.#hasState.subarray(0, count),
      stateAge: this.#stateAge.subarray(0, count),
      subjectOffsets: this.#offsets.subarray(0, count + 1),
      subjectRows: this.#rows.subarray(0, used),
      subjectWeights: this.#weights.subarray(0, used),
      demographics: this.#demographics.subarray(0, count * 3),
      subjectItems: this.#subjectItems.subarray(0, count),
      ...(this.#sequences && {
        sequenceOffsets: this.#sequenceOffsets.subarray(0, count + 1),
        sequenceRows: this.#sequenceRows.subarray(0, this.#sequenceOffsets[count]! * this.#width),
      }),
    };
  }

  #addSequence(index: number, state: Float32Array | undefined): void {
    if (index + 1 === this.#sequenceOffsets.length)
      this.#sequenceOffsets = enlarged(this.#sequenceOffsets, new Int32Array(2 * index + 2));
    const begin = this.#sequenceOffsets[index]! * this.#width;
    const end = begin + (state?.length ?? 0);
    if (end > this.#sequenceRows.length)
      this.#sequenceRows = enlarged(this.#sequenceRows, new Float32Array(2 * end));
    if (state !== undefined) this.#sequenceRows.set(state, begin);
    this.#sequenceOffsets[index + 1] = end / this.#width;
  }

  #grow(): void {
    const capacity = this.#hasState.length * 2;
    this.#states = enlarged(this.#states, new Float32Array(capacity * this.#width));
    this.#hasState = enlarged(this.#hasState, new Uint8Array(capacity));
    this.#stateAge = enlarged(this.#stateAge, new Float32Array(capacity));
    this.#offsets = enlarged(this.#offsets, new Int32Array(capacity + 1));
    this.#demographics = enlarged(this.#demographics, new Int32Array(capacity * 3));
    this.#subjectItems = enlarged(this.#subjectItems, new Int32Array(capacity));
  }
}

function enlarged<T extends Float32Array | Int32Array | Uint8Array>(from: T, to: T): T {
  to.set(from);
  return to;
}
