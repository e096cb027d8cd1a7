// npm run bench -- [name ...]: runs the roofline and the named benchmarks, or all of them, and
// writes docs/benchmarks.md again.

import { availableParallelism, loadavg } from 'node:os';
import { parseArgs } from 'node:util';
import { BACKENDS } from '../src/backend/backends.ts';
import { describeMachine, Recorder, say, type BenchOptions } from './harness.ts';
import { BENCHES } from './registry.ts';
import { writeReport } from './report.ts';

/**
 * Says how fast the machine is at best, so it runs before every benchmark that is compared with it.
 */
const FIRST = 'roofline';

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      quick: { type: 'boolean', default: false },
      bundles: { type: 'string' },
      store: { type: 'string' },
      backend: { type: 'string' },
    },
  });
  const known = Object.keys(BENCHES);
  const unknown = positionals.filter((name) => !known.includes(name));
  if (unknown.length > 0)
    throw new RangeError(
      `Expected names of benchmarks that exist (${known.join(', ')}), ` +
        `received ${unknown.join(', ')}.`,
    );
  const { quick, bundles, store } = values;
  const backend = BACKENDS.find((name) => name === values.backend);
  if (values.backend !== undefined && backend === undefined)
    throw new RangeError(
      `Expected one of ${BACKENDS.join(', ')} as --backend, received ${values.backend}.`,
    );
  if ((bundles === undefined) !== (store === undefined))
    throw new RangeError('Expected --bundles and --store together, received one of them.');
  const options: BenchOptions = {
    quick,
    ...(bundles !== undefined && store !== undefined && { bundles, store }),
    ...(backend !== undefined && { backend }),
  };
  const machine = describeMachine();
  say(machine);
  if (loadavg()[0]! > availableParallelism() / 2)
    say('Other work runs on this machine: expect wide spreads and latencies that are too high.');
  for (const name of positionals.length > 0 ? new Set([FIRST, ...positionals]) : known) {
    const recorder = new Recorder(name, machine);
    const { run } = await BENCHES[name]!.load();
    await run(recorder, options);
    if (quick) continue;
    recorder.write();
    say(`wrote bench/results/${name}.ndjson`);
  }
  if (quick) say('quick run: no results written');
  else say(`wrote ${await writeReport()}`);
}

main().catch((error: unknown) => {
  const isMisuse = error instanceof RangeError || error instanceof TypeError;
  const text = error instanceof Error ? (isMisuse ? error.message : error.stack) : undefined;
  process.stderr.write(`${text ?? String(error)}\n`);
  process.exitCode = 1;
});
