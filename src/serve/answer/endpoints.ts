// The endpoints of the pipeline. Each pairs the parser of a body with the encoder of its answer.

import { encodeCandidates, encodeEmbedding, encodeScores } from './encode-answer.ts';
import { BINARY_TYPE, encodeBinaryCandidates, parseBinaryCandidates } from './encode-binary.ts';
import { parseCandidates, parseEmbeddings, parseScore } from '../request/query-requests.ts';
import type {
  CandidatesRequest,
  EmbeddingsRequest,
  ScoreRequest,
} from '../request/request-types.ts';
import type { Endpoint } from './endpoint.ts';

export const JSON_TYPE = 'application/json';

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
