// The C++ tests under sanitizers. `npm run test:native` runs those of addresses and undefined behaviour each time; here all.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { packageRoot } from '../../src/native/binding.ts';
import { Skipped, type Row } from './row.ts';

const PRESETS = ['asan-ubsan', 'tsan'];

export const SANITIZERS: Row = {
  name: 'sanitizers',
  target: 'ASAN, UBSAN and LSAN on the ctest suite, TSAN on the Node-free core: 0 reports',
  run: async (scale, figures) => {
    if (scale === 'quick')
      throw new Skipped('long form only: "npm run test:native" runs asan-ubsan');
    for (const preset of PRESETS) {
      figures.progress(preset);
      const child = spawn(process.execPath, ['tools/test-native.mjs', preset], {
        cwd: packageRoot(),
        stdio: ['ignore', 'pipe', 'pipe'],
      });
      let text = '';
      for (const stream of [child.stdout, child.stderr])
        stream.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
      const [code] = (await once(child, 'close')) as [number | null];
      figures.note(`${preset}: ${/\d+% tests passed.*/.exec(text)?.[0] ?? 'no summary'}`);
      figures.atMost(`exit status of ${preset}`, code ?? 1, 0);
      if (code !== 0) figures.misses.push(text.slice(-2000));
    }
  },
};
