// Open-loop load on a server, sent by the load generator of the benchmarks in its own process.

import type { Generator } from '../../bench/serve/child.ts';
import type { LoadOutcome, Question } from '../../bench/serve/load.ts';
import { tinyItem } from '../support/tiny-bundle.ts';
import type { Figures } from './row.ts';

const FIRST_RATE = 100;
const LAST_RATE = 12_800;
const PROBE_SECONDS = 1;
const SEED = 11;
/** Below this share of good answers the load is past the server's capacity. */
const KNEE_SHARE = 0.9;

export function questionsOf(users: readonly string[], items: number): Question[] {
  return users.map((user, i) => ({
    user,
    surface: 'related',
    subject: { item: tinyItem((i * 37) % items).id },
  }));
}

/**
 * @returns a function that sends one load of `seconds` at the rate that it gets, in requests a
 * second.
 */
export function loadOf(
  generator: Generator,
  port: number,
  seconds: number,
): (rate: number) => Promise<LoadOutcome> {
  return (rate) =>
    generator.load({ protocol: 'http', port, rate, seconds, warmUpSeconds: 0.2, seed: SEED });
}

/**
 * @returns the most good answers a second. The rate is doubled until a tenth of the requests has no
 *   good answer in time.
 */
export async function capacityOf(
  generator: Generator,
  port: number,
  figures: Figures,
): Promise<number> {
  const probe = loadOf(generator, port, PROBE_SECONDS);
  let capacity = 0;
  for (let rate = FIRST_RATE; rate <= LAST_RATE; rate *= 2) {
    const { achievedRate, sentRate } = await probe(rate);
    capacity = Math.max(capacity, achievedRate);
    figures.progress(`${achievedRate.toFixed(0)} of ${sentRate.toFixed(0)} requests/s answered`);
    if (achievedRate < KNEE_SHARE * sentRate) break;
  }
  return capacity;
}

export function medianOf(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1]!;
}
