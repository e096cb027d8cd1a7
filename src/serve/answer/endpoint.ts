// What the pipeline needs to know of a route: how its body is parsed and its answer written.

import type { AnswerParts } from './answer-parts.ts';
import type { Engine } from '../engine/engine.ts';
import type { PipelineRequest } from '../request/request-types.ts';

export interface Endpoint<R extends PipelineRequest, Body> {
  /** Content type of the answer. */
  readonly contentType: string;
  /**
   * Checks a body.
   *
   * @param value - the body as parsed JSON.
   * @throws TandemError ERR_INVALID_REQUEST.
   */
  parse(value: unknown): R;
  /** Writes the body of an answer. */
  encode(engine: Engine, parts: AnswerParts<R>): Body;
}
