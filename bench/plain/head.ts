// The head in its simplest form: the formula of NativeHead as loops over typed arrays.

import type { HeadBatch } from '../../src/features/head-batch.ts';
import type { ContextWeights, HeadWeights } from '../../src/native/head.ts';

export class PlainHead {
  readonly #weights: HeadWeights;
  readonly #fused: Float32Array;
  readonly #context: Float32Array;
  readonly #hidden: Float32Array;

  constructor(weights: HeadWeights) {
    const { embeddingWidth, hiddenWidth, context } = weights;
    this.#weights = weights;
    this.#fused = new Float32Array(embeddingWidth + (context ? context.contextWidth + 1 : 0));
    this.#context = new Float32Array(
      context ? context.subjectWidth + 3 * context.demographicWidth : 0,
    );
    this.#hidden = new Float32Array(hiddenWidth);
  }

  /** Does the same as NativeHead.embed, without its checks. */
  embed(batch: HeadBatch, out: Float32Array): void {
    const { embeddingWidth: width, coldStart, context } = this.#weights;
    const { hiddenWeight, hiddenBias, outputWeight, outputBias, skipWeight } = this.#weights;
    const fused = this.#fused;
    for (let b = 0; b < batch.count; b++) {
      const known = batch.hasState[b] === 1;
      const state = known ? batch.states.subarray(b * width, (b + 1) * width) : coldStart;
      fused.set(state);
      if (context !== undefined) {
        this.#gather(context, batch, b);
        dense(
          context.contextWeight,
          context.contextBias,
          this.#context,
          fused.subarray(width, width + context.contextWidth),
          true,
        );
        fused[fused.length - 1] = known ? batch.stateAge[b]! : 0;
      }
      dense(hiddenWeight, hiddenBias, fused, this.#hidden, true);
      const row = out.subarray(b * width, (b + 1) * width);
      dense(outputWeight, outputBias, this.#hidden, row, false);
      let squares = 0;
      for (let i = 0; i < width; i++) {
        let sum = row[i]!;
        for (let j = 0; j < fused.length; j++) sum += skipWeight[i * fused.length + j]! * fused[j]!;
        row[i] = sum;
        squares += sum * sum;
      }
      const scale = 1 / Math.sqrt(squares);
      for (let i = 0; i < width; i++) row[i]! *= scale;
    }
  }

  /** Writes the context input of request b: [bag(subject) ; age ; country ; gender]. */
  #gather(context: ContextWeights, batch: HeadBatch, b: number): void {
    const { subjectWidth, demographicWidth, subjectTable, noSubject } = context;
    const x = this.#context;
    const begin = batch.subjectOffsets[b]!;
    const end = batch.subjectOffsets[b + 1]!;
    let total = 0;
    for (let i = begin; i < end; i++) total += batch.subjectWeights[i]!;
    if (total === 0) x.set(noSubject);
    else {
      x.fill(0, 0, subjectWidth);
      for (let i = begin; i < end; i++) {
        const weight = batch.subjectWeights[i]! / total;
        const offset = batch.subjectRows[i]! * subjectWidth;
        for (let j = 0; j < subjectWidth; j++) x[j]! += weight * subjectTable[offset + j]!;
      }
    }
    const tables = [context.ageTable, context.countryTable, context.genderTable];
    for (const [t, table] of tables.entries()) {
      const offset = batch.demographics[3 * b + t]! * demographicWidth;
      for (let j = 0; j < demographicWidth; j++)
        x[subjectWidth + t * demographicWidth + j] = table[offset + j]!;
    }
  }
}

/** Computes y = W x + b, then relu if `relu`. W is [y.length, x.length]. */
function dense(
  weight: Float32Array,
  bias: Float32Array,
  x: Float32Array,
  y: Float32Array,
  relu: boolean,
): void {
  const width = x.length;
  for (let i = 0; i < y.length; i++) {
    let sum = bias[i]!;
    for (let j = 0; j < width; j++) sum += weight[i * width + j]! * x[j]!;
    y[i] = relu && sum < 0 ? 0 : sum;
  }
}
