// Open-loop load on a server, by the load generator of the benchmarks, which is a process of its own.

import type { Generator } from '../../bench/serve/child.ts';
import type { LoadOutcome, Question } from '../../bench/serve/load.ts';
import { tinyItem } from '../support/tiny-bundle.ts';
import type { Figures } from './row.ts';

const FIRST_RATE = 100;
const LAST_RATE = 12_800;
const PROBE_SECONDS = 1;
const SEED = 11;
/** Less of what was sent than this is past capacity. */
const KNEE_SHARE = 0.9;

export function questionsOf(users: readonly string[], items: number): Question[] {
  return users.map((user, i) => ({
    user,
    surface: 'related',
    subject: { item: tinyItem((i * 37) % items).id },
  }));
}

/** Runs one load of `seconds` at the rate that it is called with. */
export function loadOf(
  generator: Generator,
  port: number,
  seconds: number,
): (rate: number) => Promise<LoadOutcome> {
  return (rate) =>
    generator.load({ protocol: 'http', port, rate, seconds, warmUpSeconds: 0.2, seed: SEED });
}

/** Good answers a second at most: the rate is doubled until a tenth of what is sent is not answered well in time. */
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
