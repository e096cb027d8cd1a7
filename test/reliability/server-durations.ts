// How long answers took inside the server, from its own histogram: without the client's time and
// its waiting for a core.

import { get } from './ask.ts';

/** Cumulative counts of /v1/candidates by status and upper bound of the bucket, in seconds. */
export type Durations = ReadonlyMap<string, number>;

const BUCKET = new RegExp(
  String.raw`^tandem_http_request_duration_seconds_bucket` +
    String.raw`\{le="([^"]+)",route="/v1/candidates",status="(\d+)"\} (\d+)$`,
  'gm',
);
const QUANTILE = 0.99;

export async function scrapeDurations(port: number): Promise<Durations> {
  const { body } = await get(port, '/metrics');
  const matches = String(body).matchAll(BUCKET);
  return new Map(
    Array.from(matches, ([, le, status, count]) => [`${status} ${le}`, Number(count)]),
  );
}

/**
 * @returns the upper bound, in ms, of the bucket with the p99 of the answers with `status` between
 *   two scrapes; 0 without such answers.
 */
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
