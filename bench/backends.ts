// The tfjs backends that a benchmark runs on: all that are there, or the one that --backend names.

import { BACKENDS, type BackendName } from '../src/backend/backends.ts';
import { probeBackend } from '../src/backend/select.ts';
import { say } from './harness.ts';

export interface PresentBackend {
  readonly name: BackendName;
  readonly device: string;
}

/** Devices that compute on the CPU, by what they say of themselves. */
const ON_CPU = /kernels|CPU|swiftshader|llvmpipe/i;

/**
 * tfjs's own `cpu` is left out unless it is named: it would take hours where others take seconds.
 *
 * @throws RangeError when the named one is not there.
 */
export async function presentBackends(named: BackendName | undefined): Promise<PresentBackend[]> {
  const present: PresentBackend[] = [];
  for (const name of named === undefined ? BACKENDS.filter((other) => other !== 'cpu') : [named]) {
    const { device, reason } = await probeBackend(name);
    if (device !== undefined) present.push({ name, device });
    else if (named !== undefined) throw new RangeError(reason);
    else say(`backend ${name} is left out: ${reason!}`);
  }
  return present;
}

export function hasGpu(backends: readonly PresentBackend[]): boolean {
  return backends.some(({ device }) => !ON_CPU.test(device));
}
