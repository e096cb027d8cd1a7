// Resolves requests: the ids in them become rows of the bundle that answers.

import { TandemError } from '../errors.ts';
import type { BundleVersion, Pending, Resolved } from './answer/pending.ts';
import type { Engine } from './engine/engine.ts';

/**
 * Resolves the requests of a micro-batch. It rejects requests that cannot be answered and those
 * whose client has disconnected.
 *
 * @returns the other requests, in order.
 */
export function resolveAll(engine: Engine, batch: readonly Pending[]): Resolved[] {
  const resolved: Resolved[] = [];
  for (const pending of batch)
    try {
      if (pending.caller.aborted)
        throw new TandemError(
          'ERR_INVALID_REQUEST',
          'Expected a client that waits for the answer, but it has disconnected.',
        );
      resolved.push(resolveOne(engine, pending, 'current'));
    } catch (error) {
      pending.reject(error);
    }
  return resolved;
}

/**
 * Resolves one request.
 *
 * @param version - why this bundle answers it.
 * @throws TandemError ERR_UNKNOWN_ITEM when the bundle lacks the subject's item.
 */
export function resolveOne(engine: Engine, pending: Pending, version: BundleVersion): Resolved {
  const { request } = pending;
  const filter = request.kind === 'candidates' ? request.filter : undefined;
  const subject = engine.resolveSubject(request.subject);
  const excluded = new Set<number>();
  if (subject.itemRow >= 0) excluded.add(subject.itemRow);
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
    subject,
    filter: engine.items.compile(filter),
    excluded,
    version,
  };
}
