// What waits for an answer, and how its ids become rows of the bundle that answers it.

import { TandemError } from '../errors.ts';
import type { Engine } from './engine/engine.ts';
import type { Stage } from './metrics/metrics.ts';
import type { AnswerFacts } from './answer/answer-parts.ts';
import type { Endpoint } from './answer/endpoint.ts';
import type { PipelineRequest } from './request/request-types.ts';
import type { ResolvedQuery } from './retrieve/resolved-query.ts';
import type { BundleVersion, Pending, Resolved } from './answer/pending.ts';

/** TurnScheduler ids into rows of the bundle; requests that cannot be answered are settled here, aborted ones dropped. */
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
