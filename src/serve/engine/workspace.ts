// Arrays of the request path, kept from one micro-batch to the next: none is allocated while they are large enough.

import { maxBoostedItems, maxStateRows } from '../../bundle/manifest.ts';
import { HeadBatchBuilder } from '../../features/head-batch.ts';
import { newStateBatch, type StateBatch } from '../../store/state-batch.ts';
import type { Engine } from './engine.ts';

/** Arrays of one micro-batch on one bundle, reused by later ones. */
export class Workspace {
  readonly builder: HeadBatchBuilder;
  readonly #width: number;
  readonly #stateRows: number;
  readonly #listed: number;
  states: StateBatch;
  #embeddings = new Float32Array(0);
  #queries = new Float32Array(0);

  constructor({ width, bundle }: Engine) {
    const { model } = bundle.manifest;
    this.#width = width;
    this.#stateRows = maxStateRows(model);
    this.#listed = maxBoostedItems(model);
    this.builder = new HeadBatchBuilder(width, 1, model.fusion === 'attention');
    this.states = newStateBatch(0, width);
  }

  statesFor(count: number): StateBatch {
    if (this.states.lengths.length < count)
      this.states = newStateBatch(count, this.#width, this.#stateRows, this.#listed);
    return this.states;
  }

  embeddingsFor(count: number): Float32Array {
    const length = count * this.#width;
    if (this.#embeddings.length < length) this.#embeddings = new Float32Array(length);
    return this.#embeddings.subarray(0, length);
  }

  queriesFor(count: number): Float32Array {
    const length = count * this.#width;
    if (this.#queries.length < length) this.#queries = new Float32Array(length);
    return this.#queries.subarray(0, length);
  }
}
