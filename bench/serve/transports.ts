// Compares the two transports: how many good answers a second each gives to clients that always
// have a fixed number of requests open.

import { findUws } from '../../src/serve/web/uws-binary.ts';
import { say, summarise, type BenchOptions, type Recorder } from '../harness.ts';
import type { Child, Generator } from './child.ts';

const CONNECTIONS = 16;
const PLAN = { rounds: 6, seconds: 5, warmUpSeconds: 2 };
const QUICK_PLAN = { rounds: 1, seconds: 1, warmUpSeconds: 0.5 };
const RATE = { metric: 'good answers', unit: '1/s', better: 'higher' } as const;

/**
 * Loads node:http and uWebSockets in turn.
 *
 * @param start - starts a server with these flags.
 */
export async function compareTransports(
  recorder: Recorder,
  size: string,
  { quick }: BenchOptions,
  generator: Generator,
  start: (...flags: string[]) => Promise<Child>,
): Promise<void> {
  const uws = findUws();
  if (uws.uws === undefined) {
    say(`serve: node:http is not compared with uWebSockets: ${uws.reason}`);
    return;
  }
  const { rounds, seconds, warmUpSeconds } = quick ? QUICK_PLAN : PLAN;
  const servers: Record<'node' | 'uws', Child> = {
    node: await start('--transport', 'node'),
    uws: await start('--transport', 'uws'),
  };
  const rates: Record<'node' | 'uws', number[]> = { node: [], uws: [] };
  try {
    for (let round = 0; round < rounds; round++)
      for (const name of ['node', 'uws'] as const) {
        const { port } = servers[name];
        const order = { port, connections: CONNECTIONS, seconds, warmUpSeconds };
        rates[name].push(await generator.saturate(order));
      }
  } finally {
    for (const server of Object.values(servers)) await server.stop();
  }
  recorder.add(`${size}, node:http, ${CONNECTIONS} connections`, RATE, summarise(rates.node), {
    name: 'uWebSockets',
    measured: summarise(rates.uws),
  });
}
