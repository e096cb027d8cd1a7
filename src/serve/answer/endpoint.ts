// What the pipeline needs to know about a route: how to parse its body and how to write its answer.

import type { AnswerParts } from './answer-parts.ts';
import type { Engine } from '../engine/engine.ts';
import type { PipelineRequest } from '../request/request-types.ts';

export interface Endpoint<R extends PipelineRequest, Body> {
  /** Of the answer. */
  readonly contentType: string;
  /** @throws TandemError ERR_INVALID_REQUEST. */
  parse(value: unknown): R;
  encode(engine: Engine, parts: AnswerParts<R>): Body;
}
