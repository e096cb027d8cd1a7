// Records the outcomes of a load as results of the benchmark.

import { summarise, type Recorder } from '../harness.ts';
import type { LoadOutcome } from './load.ts';

const METRICS = [
  { metric: 'p50', unit: 'ms', better: 'lower', of: (outcome: LoadOutcome) => outcome.p50Ms },
  { metric: 'p90', unit: 'ms', better: 'lower', of: (outcome: LoadOutcome) => outcome.p90Ms },
  { metric: 'p99', unit: 'ms', better: 'lower', of: (outcome: LoadOutcome) => outcome.p99Ms },
  { metric: 'p99.9', unit: 'ms', better: 'lower', of: (outcome: LoadOutcome) => outcome.p999Ms },
  {
    metric: 'achieved',
    unit: '1/s',
    better: 'higher',
    of: (outcome: LoadOutcome) => outcome.achievedRate,
  },
] as const;

/** @param peer - name and rounds of the load to compare with. */
export function recordOutcomes(
  recorder: Recorder,
  name: string,
  ours: readonly LoadOutcome[],
  peer: readonly [name: string, rounds: readonly LoadOutcome[]] | undefined,
): void {
  for (const { of, ...metric } of METRICS)
    recorder.add(
      name,
      metric,
      summarise(ours.map(of)),
      peer && { name: peer[0], measured: summarise(peer[1].map(of)) },
    );
}
