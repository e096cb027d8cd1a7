// The C++ tests of everything that needs no Node, under sanitizers: addresses, leaks, undefined behaviour, and data races.
// `npm test` runs those of addresses each time, so that the quick form looks for races alone, where threads meet.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { packageRoot } from '../../src/native/binding.ts';
import type { Row, Scale } from './row.ts';

/** Arguments of tools/test-native.mjs. */
const RUNS_AT: Readonly<Record<Scale, readonly (readonly string[])[]>> = {
  quick: [['tsan', 'thread_pool', 'concurrency']],
  long: [['asan-ubsan'], ['tsan']],
};
const REPORT = /^.*(?:WARNING: ThreadSanitizer|ERROR: \w+Sanitizer|runtime error:).*$/gm;

export const SANITIZERS: Row = {
  name: 'sanitizers',
  target:
    'ctest suite under ASAN, UBSAN, LSAN, and under TSAN (quick: TSAN on thread pool and concurrency): 0 reports',
  run: async (scale, figures) => {
    for (const run of RUNS_AT[scale]) {
      figures.progress(run.join(' '));
      const { code, text } = await testNative(run);
      const summary = /(\d+)% tests passed, (\d+) tests failed out of (\d+)/.exec(text);
      figures.note(`${run.join(' ')}: ${summary?.[0] ?? 'no tests ran'}`);
      figures.atLeast('tests that ran', Number(summary?.[3] ?? 0), 1);
      figures.atMost('reports', [...text.matchAll(REPORT)].length, 0);
      figures.atMost('exit status', code ?? 1, 0);
      if (code !== 0) figures.misses.push(text.slice(-2000));
    }
  },
};

async function testNative(
  args: readonly string[],
): Promise<{ readonly code: number | null; readonly text: string }> {
  const child = spawn(process.execPath, ['tools/test-native.mjs', ...args], {
    cwd: packageRoot(),
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let text = '';
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, text };
}
