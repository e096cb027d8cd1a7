// Endpoints of the pipeline: each pairs the body that is expected with the way its answer is written.

import {
  encodeCandidates,
  encodeEmbedding,
  encodeScores,
  type AnswerParts,
} from './encode-answer.ts';
import { BINARY_TYPE, encodeBinaryCandidates, parseBinaryCandidates } from './encode-binary.ts';
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

export const JSON_TYPE = 'application/json';

export interface Endpoint<R extends PipelineRequest, Body> {
  /** Of the answer. */
  readonly contentType: string;
  /** @throws TandemError ERR_INVALID_REQUEST. */
  parse(value: unknown): R;
  encode(engine: Engine, parts: AnswerParts<R>): Body;
}

export const CANDIDATES: Endpoint<CandidatesRequest, string> = {
  contentType: JSON_TYPE,
  parse: parseCandidates,
  encode: encodeCandidates,
};

export const BINARY_CANDIDATES: Endpoint<CandidatesRequest, Uint8Array> = {
  contentType: BINARY_TYPE,
  parse: parseBinaryCandidates,
  encode: encodeBinaryCandidates,
};

export const EMBEDDINGS: Endpoint<EmbeddingsRequest, string> = {
  contentType: JSON_TYPE,
  parse: parseEmbeddings,
  encode: encodeEmbedding,
};

export const SCORE: Endpoint<ScoreRequest, string> = {
  contentType: JSON_TYPE,
  parse: parseScore,
  encode: encodeScores,
};
