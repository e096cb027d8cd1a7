// Endpoints of the pipeline: each pairs the body that is expected with the way its answer is written.

import {
  encodeCandidates,
  encodeEmbedding,
  encodeScores,
  type AnswerParts,
} from './encode-answer.ts';
import type { Engine } from './engine.ts';
import {
  parseCandidates,
  parseEmbeddings,
  parseScore,
  type CandidatesRequest,
  type EmbeddingsRequest,
  type PipelineRequest,
  type ScoreRequest,
} from './schemas.ts';

export interface Endpoint<R extends PipelineRequest, Body> {
  /** @throws TandemError ERR_INVALID_REQUEST. */
  parse(value: unknown): R;
  encode(engine: Engine, parts: AnswerParts<R>): Body;
}

export const CANDIDATES: Endpoint<CandidatesRequest, string> = {
  parse: parseCandidates,
  encode: encodeCandidates,
};

export const EMBEDDINGS: Endpoint<EmbeddingsRequest, string> = {
  parse: parseEmbeddings,
  encode: encodeEmbedding,
};

export const SCORE: Endpoint<ScoreRequest, string> = { parse: parseScore, encode: encodeScores };
