// Measures the daily batch at scale; run by hand. It encodes every user of a large dataset with the
// native encoder into LMDB and prints users a second, peak memory and the size of the store. The
// histories come from a small synthetic world and are repeated under new user ids, because making
// and importing a world of a million users takes longer and more memory than encoding it. npx tsx
// bench/encode-scale.ts [--users 1000000]. Linux only, as scale.ts.

import {
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { loadBundle } from '../src/bundle/load.ts';
import type { Dataset } from '../src/data/dataset.ts';
import { readDataset } from '../src/data/read-dataset.ts';
import { encodeUsers } from '../src/encode/users.ts';
import type { Precision } from '../src/native/isa.ts';
import { openStore } from '../src/store/open-store.ts';
import { runCli } from '../test/support/cli.ts';
import { describeMachine } from './harness.ts';

const WORLD_USERS = 20_000;
const WORLD_ITEMS = 20_000;
/** The unit of `blocks` in stat(2). */
const BYTES_PER_BLOCK = 512;
const { values: flags } = parseArgs({
  options: {
    users: { type: 'string', default: '1000000' },
    precision: { type: 'string', default: 'f32' },
    work: { type: 'string', default: join('bench', 'scale') },
  },
});

mkdirSync(flags.work, { recursive: true });
const world = join(flags.work, `world-${WORLD_USERS}-${WORLD_ITEMS}`);
const run = join(flags.work, `run-${WORLD_USERS}-${WORLD_ITEMS}`);
const bundles = join(flags.work, `bundles-${WORLD_USERS}-${WORLD_ITEMS}`);
const store = join(flags.work, 'store-of-all');
if (!existsSync(world))
  await tandem(
    'world',
    '--users',
    String(WORLD_USERS),
    '--items',
    String(WORLD_ITEMS),
    '--out',
    world,
  );
if (!existsSync(bundles)) {
  // A few steps are enough: the speed does not depend on the weights.
  const settings = join(flags.work, 'few-steps.json');
  const loss = { kind: 'sampled', negatives: 256 };
  writeFileSync(settings, JSON.stringify({ steps: 20, usersPerStep: 16, validateEvery: 20, loss }));
  await tandem('train', '--data', world, '--out', run, '--settings', settings);
  await tandem('publish', '--checkpoint', run, '--bundles', bundles);
}
rmSync(store, { recursive: true, force: true });

const bundle = await loadBundle(bundles);
const dataset = withUsers(await readDataset(world), Number(flags.users));
const states = await openStore(store);
const { encoded, seconds } = await encodeUsers({
  bundle,
  dataset,
  store: states,
  precision: flags.precision as Precision,
});
await states.close();
const { model, stateType } = bundle.manifest;
const histories = dataset.users.count;
process.stdout.write(
  `${JSON.stringify(
    {
      machine: describeMachine(),
      threads: availableParallelism(),
      precision: flags.precision,
      model:
        `width ${model.embeddingWidth}, ${model.blocks} blocks, ` +
        `up to ${model.maxHistory} events, states of ${stateType}`,
      meanEvents: Number((dataset.events.count / histories).toFixed(1)),
      encoded,
      seconds: Number(seconds.toFixed(1)),
      usersPerSecond: Math.round(encoded / seconds),
      peakMiB: Math.round(
        Number(/VmHWM:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))![1]) / 1024,
      ),
      storeMiB: Math.round(bytesOf(store) / 2 ** 20),
      storeBytesPerUser: Math.round(bytesOf(store) / encoded),
    },
    null,
    2,
  )}\n`,
);

/** Repeats the dataset's users under new ids until there are `count` of them. */
function withUsers(dataset: Dataset, count: number): Dataset {
  const { events, users } = dataset;
  const times = Math.ceil(count / users.count);
  const total = times * events.count;
  const userOffsets = new Int32Array(times * users.count + 1);
  const repeat = <T extends Int32Array | Float64Array>(column: T, into: T): T => {
    for (let time = 0; time < times; time++) into.set(column, time * events.count);
    return into;
  };
  for (let time = 0; time < times; time++)
    for (let user = 0; user < users.count; user++)
      userOffsets[time * users.count + user + 1] =
        time * events.count + events.userOffsets[user + 1]!;
  const ids = Array.from(
    { length: count },
    (_, i) => `${users.ids[i % users.count]!}-${Math.floor(i / users.count)}`,
  );
  return {
    ...dataset,
    users: { ...users, count, ids },
    events: {
      ...events,
      count: userOffsets[count]!,
      userOffsets: userOffsets.subarray(0, count + 1),
      items: repeat(events.items, new Int32Array(total)),
      times: repeat(events.times, new Float64Array(total)),
      actions: repeat(
        events.actions,
        new (events.actions.constructor as typeof Int32Array)(total) as typeof events.actions,
      ),
    },
  };
}

function bytesOf(folder: string): number {
  return readdirSync(folder).reduce(
    (sum, file) => sum + statSync(join(folder, file)).blocks * BYTES_PER_BLOCK,
    0,
  );
}

async function tandem(...args: string[]): Promise<void> {
  const { code, stderr } = await runCli(args);
  if (code !== 0) throw new Error(`Expected "tandem ${args[0]!}" to end well, but: ${stderr}`);
}
