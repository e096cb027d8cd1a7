import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  accessSync,
  constants,
  mkdirSync,
  mkdtempSync,
  rmSync,
  rmdirSync,
  writeFileSync,
} from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, describe, it } from 'node:test';
import { usableCpus } from './cpus.ts';
import { packageRoot } from '../package-root.ts';

const folder = mkdtempSync(join(tmpdir(), 'tandem-cpus-'));
after(() => {
  rmSync(folder, { recursive: true });
});

let machines = 0;
/** A machine of 16 CPUs whose control groups have these files. */
function cpusWith(own: string, files: Readonly<Record<string, string>>): number {
  const root = join(folder, String(machines++));
  for (const [path, content] of Object.entries({ 'own.txt': own, ...files })) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), content);
  }
  return usableCpus({ cgroups: root, ownCgroups: join(root, 'own.txt'), affinity: 16 });
}

describe('usableCpus()', () => {
  it('is the affinity where no group has a quota', () => {
    assert.equal(cpusWith('', {}), 16);
    assert.equal(cpusWith('0::/a\n', { 'a/cpu.max': 'max 100000\n', 'cpu.max': 'max\n' }), 16);
    assert.equal(cpusWith('0::/\n', { 'cpu.max': 'nonsense' }), 16);
    assert.equal(cpusWith('0::/\n', { 'cpu.max': '6400000 100000' }), 16, 'more than the CPUs');
    assert.equal(usableCpus({ ownCgroups: join(folder, 'nothing') }), availableParallelism());
  });

  it('is the smallest quota from the own group up to the root', () => {
    const nested = (inner: string, middle: string, outer: string): number =>
      cpusWith('0::/pods/one\n', {
        'pods/one/cpu.max': inner,
        'pods/cpu.max': middle,
        'cpu.max': outer,
        'pods/other/cpu.max': '100000 100000',
      });
    assert.equal(nested('400000 100000', '800000 100000', 'max 100000'), 4);
    assert.equal(nested('max 100000', '300000 100000', 'max 100000'), 3);
    assert.equal(nested('400000 100000', 'max 100000', '200000 100000'), 2);
  });

  it('counts a part of a CPU as one', () => {
    assert.equal(cpusWith('0::/\n', { 'cpu.max': '50000 100000' }), 1);
    assert.equal(cpusWith('0::/\n', { 'cpu.max': '150000 100000' }), 2);
    assert.equal(cpusWith('0::/\n', { 'cpu.max': '30000 20000' }), 2);
  });

  it('reads the mount itself where the path is that of the host', () => {
    assert.equal(cpusWith('0::/docker/4f1\n', { 'cpu.max': '200000 100000' }), 2);
    assert.equal(cpusWith('0::/../../sibling\n', { 'cpu.max': '300000 100000' }), 3);
  });

  it('reads version 1, and both versions side by side', () => {
    const v1 = {
      'cpu/a/cpu.cfs_quota_us': '250000\n',
      'cpu/a/cpu.cfs_period_us': '100000\n',
      'cpu/cpu.cfs_quota_us': '-1\n',
      'cpu/cpu.cfs_period_us': '100000\n',
    };
    assert.equal(cpusWith('4:memory:/b\n1:cpu:/a\n0::/\n', v1), 3);
    const joint = {
      'cpu,cpuacct/cpu.cfs_quota_us': '100000',
      'cpu,cpuacct/cpu.cfs_period_us': '50000',
    };
    assert.equal(cpusWith('1:cpu,cpuacct:/a\n', joint), 2);
    assert.equal(cpusWith('1:cpu:/a\n0::/u\n', { ...v1, 'unified/u/cpu.max': '100000 100000' }), 1);
  });
});

/** A new control group of this machine with a quota of one CPU; undefined where one may not. */
function realGroup(): { readonly procs: string; readonly remove: () => void } | undefined {
  const name = `tandem-test-${process.pid}`;
  for (const [mount, quota, value] of [
    ['/sys/fs/cgroup', 'cpu.max', '100000 100000'],
    ['/sys/fs/cgroup/cpu', 'cpu.cfs_quota_us', '100000'],
  ] as const)
    try {
      accessSync(mount, constants.W_OK);
      const group = join(mount, name);
      mkdirSync(group);
      const remove = (): void => {
        rmdirSync(group);
      };
      try {
        // A file that is not there yet belongs to a mount without this controller.
        accessSync(join(group, quota), constants.W_OK);
        writeFileSync(join(group, quota), value);
        return { procs: join(group, 'cgroup.procs'), remove };
      } catch {
        rmSync(group, { recursive: true, force: true });
      }
    } catch {
      // Not here.
    }
  return undefined;
}

const group = realGroup();
it(
  'the pool of the addon follows a real quota, and TANDEM_THREADS',
  { skip: group === undefined && 'no control group can be made here' },
  () => {
    const script =
      `import { nativeAddon } from '${join(packageRoot(), 'src', 'native', 'addon.ts')}';` +
      'process.stdout.write(String(nativeAddon().threads));';
    const threads = (env: NodeJS.ProcessEnv): string =>
      spawnSync(
        'sh',
        [
          '-c',
          `echo $$ > ${group!.procs} && exec "$0" --import tsx --input-type module -e "$1"`,
          process.execPath,
          script,
        ],
        { encoding: 'utf8', cwd: packageRoot(), env: { ...process.env, ...env } },
      ).stdout;
    try {
      assert.equal(threads({ TANDEM_THREADS: '' }), '1');
      assert.equal(threads({ TANDEM_THREADS: '3' }), '3');
    } finally {
      group!.remove();
    }
  },
);
