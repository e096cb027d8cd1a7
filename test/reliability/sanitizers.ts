// The C++ tests, which need no Node, under sanitizers: for addresses, leaks, undefined behaviour,
// and data races. CI runs `npm run test:native` for the first three, so the quick form looks only
// for races, where threads meet.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { Row, Scale } from './row.ts';

/** Arguments of tools/test-native.mjs. */
const RUNS_AT: Readonly<Record<Scale, readonly (readonly string[])[]>> = {
  quick: [['tsan', 'thread_pool', 'concurrency']],
  long: [['asan-ubsan'], ['tsan']],
};
const REPORT = /^.*(?:WARNING: ThreadSanitizer|ERROR: \w+Sanitizer|runtime error:).*$/gm;

export const SANITIZERS: Row = {
  name: 'sanitizers',
  fault: 'Memory errors, undefined behaviour or data races in the native code',
  method:
    'The ctest suite runs under AddressSanitizer, UndefinedBehaviorSanitizer and LeakSanitizer ' +
    '(asan-ubsan), and under ThreadSanitizer (tsan). The quick form runs tsan on the thread ' +
    'pool and concurrency tests.',
  targets: ['All tests pass, and no sanitizer reports anything.'],
  run: async (scale, figures) => {
    for (const run of RUNS_AT[scale]) {
      figures.progress(run.join(' '));
      const { code, text } = await testNative(run);
      const summary = /tests passed, (\d+) tests failed out of (\d+)/.exec(text);
      const name = run[0]!;
      figures.atLeast(`${name}: tests run`, Number(summary?.[2] ?? 0), 1);
      figures.report(`${name}: tests failed`, Number(summary?.[1] ?? 0));
      figures.atMost(`${name}: sanitizer reports`, [...text.matchAll(REPORT)].length, 0);
      figures.equals(`${name}: exit status`, code ?? 1, 0);
      if (code !== 0) figures.misses.push(text.slice(-2000));
    }
  },
};

async function testNative(
  args: readonly string[],
): Promise<{ readonly code: number | null; readonly text: string }> {
  const child = spawn(process.execPath, ['tools/test-native.mjs', ...args], {
    cwd: fileURLToPath(new URL('../..', import.meta.url)),
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let text = '';
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, text };
}
