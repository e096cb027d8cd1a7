// Keys and TLS: the tests that hold them to it, run as one row, so that the table is whole.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { packageRoot } from '../../src/native/binding.ts';
import type { Row } from './row.ts';

const TESTS = [
  'test/key-secrecy.test.ts',
  'src/serve/api-keys.test.ts',
  'src/serve/access.test.ts',
] as const;

export const SECRETS: Row = {
  name: 'secrets',
  target: 'API keys hashed at rest, compared in constant time, never logged; TLS',
  run: async (_scale, figures) => {
    const child = spawn(
      process.execPath,
      ['--import', 'tsx', '--test', '--test-reporter=tap', ...TESTS],
      { cwd: packageRoot(), stdio: ['ignore', 'pipe', 'inherit'] },
    );
    let text = '';
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
    await once(child, 'close');
    const count = (name: string): number =>
      Number(new RegExp(`^# ${name} (\\d+)$`, 'm').exec(text)?.[1] ?? Number.NaN);
    figures.note(TESTS.join(', '));
    figures.atLeast('tests passed', count('pass'), TESTS.length);
    figures.atMost('tests failed', count('fail'), 0);
    for (const [line] of text.matchAll(/^ *not ok .*$/gm)) figures.misses.push(line.trim());
  },
};
