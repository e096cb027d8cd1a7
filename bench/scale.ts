// Measures training on data that does not fit in memory; run by hand. It makes a synthetic world,
// trains on it in shards, and prints the peak memory of each of the two commands. npx tsx
// bench/scale.ts --help. Linux only, because the peak (VmHWM) is read from /proc.

import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { spawnCli } from '../test/support/cli.ts';

const POLL_MS = 200;
/** The unit of CPU time in /proc, on every Linux that Node runs on. */
const TICKS_PER_SECOND = 100;
const { values: flags } = parseArgs({
  options: {
    /** 376,000 users have 10 million events. */
    users: { type: 'string', default: '376000' },
    items: { type: 'string', default: '100000' },
    'shard-events': { type: 'string', default: '1000000' },
    steps: { type: 'string', default: '300' },
    'logged-share': { type: 'string', default: '0.5' },
    /** The folder is kept, so the world is made once. */
    work: { type: 'string', default: join('bench', 'scale') },
    help: { type: 'boolean', default: false },
  },
});
if (flags.help) {
  process.stdout.write(
    'npx tsx bench/scale.ts [--users 376000] [--items 100000] [--shard-events 1000000] ' +
      '[--steps 300] [--logged-share 0.5] [--work DIR]\n',
  );
  process.exit();
}

const world = join(flags.work, `world-${flags.users}-${flags.items}`);
const run = join(flags.work, 'run');
mkdirSync(flags.work, { recursive: true });
if (!existsSync(world)) {
  const sizes = ['--users', flags.users, '--items', flags.items, '--seed', '1'];
  await measured('world', ['world', ...sizes, '--out', world, '--json']);
}
const settings = join(flags.work, 'settings.json');
writeFileSync(
  settings,
  JSON.stringify({
    steps: Number(flags.steps),
    usersPerStep: 16,
    validateEvery: Math.ceil(Number(flags.steps) / 3),
    loggedShare: Number(flags['logged-share']),
    loss: {
      kind: 'sampled',
      inBatch: true,
      negatives: 512,
      unigramShare: 0.5,
      hardNegatives: 0,
      logQ: 'negativesOnly',
    },
  }),
);
rmSync(run, { recursive: true, force: true });
await measured('train', [
  ...['train', '--data', world, '--out', run, '--settings', settings],
  ...['--shard-events', flags['shard-events']],
]);

/**
 * Runs a command and prints one line: time, peak memory, the last progress of each job, and its
 * output.
 */
async function measured(name: string, args: readonly string[]): Promise<void> {
  const startedMs = performance.now();
  const child = spawnCli(args, { env: { TANDEM_LOG_LEVEL: 'info' } });
  const output = { stdout: '', stderr: '' };
  for (const stream of ['stdout', 'stderr'] as const)
    child[stream]!.setEncoding('utf8').on('data', (text: string) => {
      output[stream] += text;
      if (stream === 'stderr') process.stderr.write(text);
    });
  let peakKiB = 0;
  let cpuTicks = 0;
  const timer = setInterval(() => {
    const status = readIfThere(`/proc/${child.pid!}/status`);
    peakKiB = Math.max(peakKiB, Number(/VmHWM:\s+(\d+)/.exec(status)?.[1] ?? 0));
    // utime and stime are fields 14 and 15. The name in field 2 may contain spaces and ends at the
    // last bracket.
    const fields = readIfThere(`/proc/${child.pid!}/stat`).split(') ').at(-1)!.split(' ');
    cpuTicks = Math.max(cpuTicks, Number(fields[11] ?? 0) + Number(fields[12] ?? 0));
  }, POLL_MS);
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve));
  clearInterval(timer);
  if (code !== 0) throw new Error(`Expected "tandem ${name}" to end well, it exited with ${code}.`);
  process.stdout.write(
    `${JSON.stringify({
      command: name,
      seconds: Math.round((performance.now() - startedMs) / 1000),
      cpuSeconds: Math.round(cpuTicks / TICKS_PER_SECOND),
      peakMiB: Math.round(peakKiB / 1024),
      jobs: jobsOf(output.stderr),
      result: JSON.parse(output.stdout) as unknown,
    })}\n`,
  );
}

/** The last progress of each job, e.g. `training events: 10 of 10 shards, 1.2/s`. */
function jobsOf(log: string): string[] {
  const last = new Map<string, string>();
  for (const line of log.split('\n').filter((text) => text.startsWith('{'))) {
    const { job, done, total, unit, ratePerSecond } = JSON.parse(line) as Record<string, string>;
    if (job !== undefined) last.set(job, `${job}: ${done} of ${total} ${unit}, ${ratePerSecond}/s`);
  }
  return [...last.values()];
}

function readIfThere(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
