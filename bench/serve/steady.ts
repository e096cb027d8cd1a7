// Measures a server at a rate that leaves room: the time of each stage, and the same load while
// bundles are swapped.

import { summarise, type BenchOptions, type Measured, type Recorder } from '../harness.ts';
import type { ServeSetup } from './bundle.ts';
import type { Generator } from './child.ts';
import type { LoadOutcome } from './load.ts';
import { recordOutcomes } from './outcomes.ts';
import { readStages, stageCosts, type StageSums } from './stages.ts';
import { whileSwapping } from './swaps.ts';
import { loadOnce, type Target } from './sweep.ts';

const STEADY = { rounds: 3, seconds: 20 };
const QUICK_STEADY = { rounds: 1, seconds: 3 };
const STAGE_TIME = { metric: 'server time a request', unit: 'us', better: 'lower' } as const;
const LOST = { metric: 'refused or unanswered', unit: 'number', better: 'lower' } as const;
const SWAPS = { metric: 'swaps', unit: 'number', better: 'higher' } as const;

/**
 * Loads the server in rounds, alternately without swaps and, where there are two bundles, with
 * swaps.
 */
export async function measureSteady(
  recorder: Recorder,
  { quick }: BenchOptions,
  { bundles, names }: ServeSetup,
  target: Target & { readonly rate: number },
  generator: Generator,
): Promise<void> {
  const { rounds, seconds } = quick ? QUICK_STEADY : STEADY;
  const { rate } = target;
  const { port } = target.server;
  const calm: LoadOutcome[] = [];
  const swapping: LoadOutcome[] = [];
  const swaps: number[] = [];
  const sums: [StageSums, StageSums][] = [];
  for (let round = 0; round < rounds; round++) {
    const load = (): Promise<LoadOutcome> => loadOnce(generator, target, rate, seconds, round);
    const before = await readStages(port);
    calm.push(await load());
    sums.push([before, await readStages(port)]);
    if (names.length < 2) continue;
    const swapped = await whileSwapping(port, bundles, names, load());
    swapping.push(swapped.result);
    swaps.push(swapped.swaps);
  }
  recordStages(recorder, `${target.name}, ${rate} requests/s`, sums);
  if (swapping.length === 0) return;
  const name = `${target.name}, ${rate} requests/s, while bundles are swapped`;
  recordOutcomes(recorder, name, swapping, ['the same without swaps', calm]);
  recorder.add(name, SWAPS, summarise(swaps));
  recorder.add(name, LOST, lostOf(swapping), {
    name: 'the same without swaps',
    measured: lostOf(calm),
  });
}

/** Counts all rounds: a machine that stops for a while also refuses requests without any swap. */
function lostOf(outcomes: readonly LoadOutcome[]): Measured {
  const value = outcomes.reduce((sum, { failed, refused }) => sum + failed + refused, 0);
  return { value, spread: 0 };
}

function recordStages(
  recorder: Recorder,
  name: string,
  sums: readonly (readonly [StageSums, StageSums])[],
): void {
  const costs = sums
    .map(([before, after]) => stageCosts(before, after))
    .filter((cost) => cost !== undefined);
  for (const stage of costs[0]?.micros.keys() ?? [])
    recorder.add(
      `${name}, stage ${stage}`,
      STAGE_TIME,
      summarise(costs.map(({ micros }) => micros.get(stage)!)),
    );
  recorder.add(
    `${name}, CPU time in all`,
    STAGE_TIME,
    summarise(costs.map(({ cpuMicros }) => cpuMicros)),
  );
}
