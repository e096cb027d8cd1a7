// How long answers took inside the server, read from its histogram: without a client, and without waiting for a core to notice them.

import { get } from './ask.ts';

/** Of /v1/candidates: cumulative counts by status and by upper bound in seconds. */
export type Durations = ReadonlyMap<string, number>;

const BUCKET =
  /^tandem_http_request_duration_seconds_bucket\{le="([^"]+)",route="\/v1\/candidates",status="(\d+)"\} (\d+)$/gm;
const QUANTILE = 0.99;

export async function scrapeDurations(port: number): Promise<Durations> {
  const { body } = await get(port, '/metrics');
  const matches = String(body).matchAll(BUCKET);
  return new Map(
    Array.from(matches, ([, le, status, count]) => [`${status} ${le}`, Number(count)]),
  );
}

/** @returns the upper bound of the bucket that the p99 of answers of a status between two scrapes falls into; 0 without any. */
export function p99SinceMs(before: Durations, after: Durations, status: number): number {
  const counts: [bound: number, count: number][] = [];
  for (const [key, count] of after) {
    const [of, le] = key.split(' ') as [string, string];
    if (of === String(status))
      counts.push([le === '+Inf' ? Infinity : Number(le), count - (before.get(key) ?? 0)]);
  }
  counts.sort(([a], [b]) => a - b);
  const total = counts.at(-1)?.[1] ?? 0;
  return total === 0 ? 0 : counts.find(([, count]) => count >= QUANTILE * total)![0] * 1000;
}
