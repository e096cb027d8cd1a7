// Chooses the tfjs backends of a benchmark: every backend of this machine, or the one of --backend.

import { BACKENDS, type BackendName } from '../src/backend/backends.ts';
import { probeBackend } from '../src/backend/select.ts';
import { say } from './harness.ts';

export interface PresentBackend {
  readonly name: BackendName;
  readonly device: string;
}

/** Matches the descriptions of devices that compute on the CPU. */
const ON_CPU = /kernels|CPU|swiftshader|llvmpipe/i;

/**
 * Finds the backends that work on this machine. The tfjs backend `cpu` is left out unless it is
 * named: it would take hours where others take seconds.
 *
 * @throws RangeError when the named backend does not work on this machine.
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
