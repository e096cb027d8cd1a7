// Arrays of the request path, which later micro-batches use again. None is allocated while they are
// large enough.

import { maxBoostedItems, maxStateRows } from '../../bundle/manifest.ts';
import { HeadBatchBuilder } from '../../features/head-batch.ts';
import { newStateBatch, type StateBatch } from '../../store/state-batch.ts';
import type { Engine } from './engine.ts';

/** The arrays of one micro-batch on one bundle. */
export class Workspace {
  readonly builder: HeadBatchBuilder;
  readonly #width: number;
  readonly #stateRows: number;
  readonly #maxBoostedItems: number;
  states: StateBatch;
  #embeddings = new Float32Array(0);
  #queries = new Float32Array(0);

  constructor({ width, bundle }: Engine) {
    const { model } = bundle.manifest;
    this.#width = width;
    this.#stateRows = maxStateRows(model);
    this.#maxBoostedItems = maxBoostedItems(model);
    this.builder = new HeadBatchBuilder(width, 1, model.fusion === 'attention');
    this.states = newStateBatch(0, width);
  }

  /** Arrays for the states of at least `count` users; also in `states` until the next call. */
  statesFor(count: number): StateBatch {
    if (this.states.lengths.length < count)
      this.states = newStateBatch(count, this.#width, this.#stateRows, this.#maxBoostedItems);
    return this.states;
  }

  /** [count, D], with the values of an earlier micro-batch. */
  embeddingsFor(count: number): Float32Array {
    const length = count * this.#width;
    if (this.#embeddings.length < length) this.#embeddings = new Float32Array(length);
    return this.#embeddings.subarray(0, length);
  }

  /** [count, D], with the values of an earlier micro-batch. */
  queriesFor(count: number): Float32Array {
    const length = count * this.#width;
    if (this.#queries.length < length) this.#queries = new Float32Array(length);
    return this.#queries.subarray(0, length);
  }
}

/**
 * Workspaces of finished micro-batches. A bundle has more than one only while an asynchronous store
 * is read.
 */
export class Workspaces {
  readonly #idle = new WeakMap<Engine['bundle'], Workspace[]>();

  /** A workspace for the engine; return it with release(). */
  take(engine: Engine): Workspace {
    return this.#idle.get(engine.bundle)?.pop() ?? new Workspace(engine);
  }

  release(engine: Engine, workspace: Workspace): void {
    const idle = this.#idle.get(engine.bundle);
    if (idle === undefined) this.#idle.set(engine.bundle, [workspace]);
    else idle.push(workspace);
  }
}
