// Chooses the weights of the mixed baseline on the validation split, as a tuned model would.

import type { Dataset } from '../../data/dataset.ts';
import {
  Baselines,
  DEFAULT_MIXTURE,
  MIXTURE_PARTS,
  mixRow,
  type MixtureWeights,
} from './baselines.ts';
import { recallAtK } from '../metrics.ts';
import type { EvaluationQuery, EvaluationSet } from '../query.ts';
import { maskRow, ranksOf } from '../ranking.ts';

const GRID = [0, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 1, 1.5];
const ROUNDS = 2;
/**
 * Number of requests that the choice uses, evenly spread over the validation split; fewer for a
 * large catalogue.
 */
const MAX_QUERIES = 500;
const PARTS_BYTES = 256 * 1024 * 1024;

/**
 * Maximises Recall@10 + Recall@100 of `validation` by coordinate ascent from DEFAULT_MIXTURE. One
 * part after the other takes the best weight of a grid, and keeps its current weight on a tie.
 *
 * When the protocol does not rank items of the user's history, repeat purchases are not part of the
 * mixture, and their weight stays.
 */
export function chooseMixture(dataset: Dataset, validation: EvaluationSet): MixtureWeights {
  const { candidates } = validation;
  const items = candidates.length;
  const room = Math.max(1, Math.floor(PARTS_BYTES / (4 * items * MIXTURE_PARTS.length)));
  const step = Math.max(1, validation.queries.length / Math.min(MAX_QUERIES, room));
  const baselines = new Baselines(dataset, validation);
  const examples: { query: EvaluationQuery; parts: Float32Array[] }[] = [];
  for (let at = 0; at < validation.queries.length; at += step) {
    const query = validation.queries[Math.floor(at)]!;
    const parts = MIXTURE_PARTS.map(() => new Float32Array(items));
    baselines.mixtureParts(query, parts);
    examples.push({ query, parts });
  }
  const row = new Float32Array(items);
  const recallOf = (weights: MixtureWeights): number => {
    let recall = 0;
    for (const { query, parts } of examples) {
      mixRow(parts, weights, row);
      maskRow(row, candidates, query.excluded);
      const ranks = ranksOf(row, query.positives);
      recall += recallAtK(ranks, 10) + recallAtK(ranks, 100);
    }
    return recall;
  };
  let best = DEFAULT_MIXTURE;
  let bestRecall = recallOf(best);
  for (let round = 0; round < ROUNDS; round++)
    for (const part of MIXTURE_PARTS)
      for (const weight of GRID) {
        if (weight === best[part]) continue;
        const weights = { ...best, [part]: weight };
        const recall = recallOf(weights);
        if (recall > bestRecall) {
          bestRecall = recall;
          best = weights;
        }
      }
  return best;
}
