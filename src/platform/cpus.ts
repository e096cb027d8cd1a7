// How many CPUs this process may use. A container with a CPU quota still sees all CPUs of its host.
// More threads than the quota pays for make the kernel stop the whole process in every period.

import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';

/** Largest size of a thread pool. */
const MAX_CPUS = 1024;

export interface CpuSources {
  /** Where the control groups are mounted. */
  readonly cgroups?: string;
  /** Lists the control groups of this process. */
  readonly ownCgroups?: string;
  /** CPUs that the scheduler may run this process on. */
  readonly affinity?: number;
}

/**
 * The CPUs of this process's affinity, or fewer where a control group has a quota: the smallest
 * quota from the process's own group up to the root, in whole CPUs, rounded up.
 *
 * @see https://docs.kernel.org/admin-guide/cgroup-v2.html, cpu.max
 */
export function usableCpus(sources: CpuSources = {}): number {
  const {
    cgroups = '/sys/fs/cgroup',
    ownCgroups = '/proc/self/cgroup',
    affinity = availableParallelism(),
  } = sources;
  const quotas = (contentOf(ownCgroups) ?? '').split('\n').flatMap((line) => {
    // "0::/path" for version 2, "7:cpu,cpuacct:/path" for version 1.
    const [, controllers = '', path = ''] = /^\d+:([^:]*):(.*)$/.exec(line) ?? [];
    if (path === '') return [];
    if (controllers === '')
      return [cgroups, join(cgroups, 'unified')].flatMap(quotasUp(path, readV2));
    if (!controllers.split(',').includes('cpu')) return [];
    return [join(cgroups, 'cpu'), join(cgroups, controllers)].flatMap(quotasUp(path, readV1));
  });
  return Math.max(1, Math.min(affinity, MAX_CPUS, ...quotas.map(Math.ceil)));
}

/** Reads the quotas of a group and of all groups above it, in CPUs. */
function quotasUp(
  path: string,
  read: (folder: string) => number | undefined,
): (mount: string) => number[] {
  return (mount) => {
    const names = path.split('/').filter((name) => name !== '' && name !== '..');
    // In a container the path may be that of the host, which is not mounted here: then only the
    // mount itself, which is the container's own group, has a file.
    return Array.from({ length: names.length + 1 }, (_, depth) =>
      read(join(mount, ...names.slice(0, depth))),
    ).filter((quota) => quota !== undefined);
  };
}

/** cpu.max: "<quota or max> <period>", in microseconds. */
function readV2(folder: string): number | undefined {
  const [quota, period] = (contentOf(join(folder, 'cpu.max')) ?? '').trim().split(' ');
  return ratio(quota, period);
}

/** cpu.cfs_quota_us is -1 without a quota. */
function readV1(folder: string): number | undefined {
  return ratio(
    contentOf(join(folder, 'cpu.cfs_quota_us')),
    contentOf(join(folder, 'cpu.cfs_period_us')),
  );
}

function ratio(quota: string | undefined, period: string | undefined): number | undefined {
  const cpus = Number(quota) / Number(period);
  return cpus > 0 && Number.isFinite(cpus) ? cpus : undefined;
}

function contentOf(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}
