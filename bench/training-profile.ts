// Measures where the time of a training step goes: the calls into the addon, by function, and the
// rest, which is tfjs and JavaScript.

import { nativeAddon } from '../src/native/addon.ts';

/** Milliseconds of a step: by native function, the largest first, and for everything else. */
export interface StepProfile {
  readonly native: ReadonlyMap<string, number>;
  readonly restMs: number;
}

export async function profileSteps(
  step: () => Promise<unknown>,
  count: number,
): Promise<StepProfile> {
  const totals = new Map<string, number>();
  const { ops, training } = nativeAddon();
  const restore = [timed(ops, totals), timed(training, totals)];
  const startedMs = performance.now();
  try {
    for (let i = 0; i < count; i++) await step();
  } finally {
    for (const undo of restore) undo();
  }
  const wallMs = (performance.now() - startedMs) / count;
  const native = [...totals]
    .map(([name, ms]) => [name, ms / count] as const)
    .sort(([, a], [, b]) => b - a);
  return {
    native: new Map(native),
    restMs: wallMs - native.reduce((sum, [, ms]) => sum + ms, 0),
  };
}

/**
 * Measures the time of each function of a namespace.
 *
 * @returns a function that restores the namespace.
 */
function timed(namespace: object, totals: Map<string, number>): () => void {
  const functions = namespace as Record<string, (...parameters: unknown[]) => unknown>;
  const originals = { ...functions };
  for (const [name, original] of Object.entries(originals))
    functions[name] = (...parameters) => {
      const startedMs = performance.now();
      const result = original.apply(namespace, parameters);
      totals.set(name, (totals.get(name) ?? 0) + performance.now() - startedMs);
      return result;
    };
  return () => Object.assign(functions, originals);
}
