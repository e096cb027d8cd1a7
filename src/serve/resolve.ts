// What waits for an answer, and how its ids become rows of the bundle that answers it.

import { TandemError } from '../errors.ts';
import type { AnswerFacts } from './access-log.ts';
import type { Endpoint } from './endpoints.ts';
import type { Engine } from './engine.ts';
import type { Stage } from './metrics.ts';
import type { Asked } from './retrieve.ts';
import type { PipelineRequest } from './schemas.ts';

/** A request's answer: the body as its endpoint wrote it, and where its time went. */
export interface Answer<Body = unknown> {
  readonly body: Body;
  readonly stagesMs: Readonly<Record<Stage, number>>;
  readonly facts: AnswerFacts;
}

/** Anything that can tell that nobody waits for the answer any more. */
export interface Caller {
  readonly aborted: boolean;
}

export interface Pending {
  readonly endpoint: Endpoint<PipelineRequest, unknown>;
  readonly request: PipelineRequest;
  readonly requestId: string;
  readonly caller: Caller;
  readonly parseMs: number;
  readonly queuedAtMs: number;
  /** Once it is over, nobody wants the answer. */
  readonly deadlineMs: number;
  readonly resolve: (answer: Answer<never>) => void;
  readonly reject: (reason: unknown) => void;
}

/**
 * Which bundle a request is answered from: the current one; the previous one, whose encoder made the user's state; or the
 * current one without that state, because the previous one does not know what the request names.
 */
export type BundleVersion = 'current' | 'previous' | 'mismatch';

/** A request whose ids became rows of the bundle. */
export interface Resolved extends Pending, Asked {
  readonly request: PipelineRequest;
  readonly version: BundleVersion;
}

/** Turns ids into rows of the bundle; requests that cannot be answered are settled here, aborted ones dropped. */
export function resolveAll(engine: Engine, batch: readonly Pending[]): Resolved[] {
  const resolved: Resolved[] = [];
  for (const pending of batch)
    try {
      if (pending.caller.aborted)
        throw new TandemError(
          'ERR_INVALID_REQUEST',
          'Expected a client that waits, but it has gone.',
        );
      resolved.push(resolveOne(engine, pending, 'current'));
    } catch (error) {
      pending.reject(error);
    }
  return resolved;
}

/** @throws TandemError ERR_UNKNOWN_ITEM. */
export function resolveOne(engine: Engine, pending: Pending, version: BundleVersion): Resolved {
  const { request } = pending;
  const filter = request.kind === 'candidates' ? request.filter : undefined;
  const resolvedSubject = engine.resolveSubject(request.subject);
  const excluded = new Set<number>();
  if (resolvedSubject.itemRow >= 0) excluded.add(resolvedSubject.itemRow);
  for (const id of filter?.exclude_items ?? []) {
    const row = engine.items.row(id);
    if (row >= 0) excluded.add(row);
  }
  return {
    endpoint: pending.endpoint,
    request,
    requestId: pending.requestId,
    caller: pending.caller,
    parseMs: pending.parseMs,
    queuedAtMs: pending.queuedAtMs,
    deadlineMs: pending.deadlineMs,
    resolve: pending.resolve,
    reject: pending.reject,
    subject: resolvedSubject,
    filter: engine.items.compile(filter),
    excluded,
    version,
  };
}
