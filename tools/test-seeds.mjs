// Runs all property tests with fresh seeds, and prints each seed with its verdict.
//
// Usage: node tools/test-seeds.mjs COUNT [PART ...]. PART is a part of the paths of test files.
// TANDEM_PROPERTY_SEED=SEED node tools/run-tests.mjs PART repeats a failure.
import { spawnSync } from 'node:child_process';
import { hasProperties, testArguments, testFiles } from './test-files.mjs';

const [count, ...parts] = process.argv.slice(2);
if (!/^[1-9]\d*$/.test(count ?? '')) {
  console.error(`Expected the number of seeds first, received "${count ?? ''}".`);
  process.exit(1);
}
const files = testFiles(['test', 'src'], parts).filter(hasProperties);
console.log(`# ${files.length} files with property tests`);
let failures = 0;
for (let run = 1; run <= Number(count); run++) {
  const seed = String(Math.floor(Math.random() * 2 ** 31));
  const { status, stdout } = spawnSync(process.execPath, testArguments(files), {
    encoding: 'utf8',
    maxBuffer: 2 ** 30,
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { TANDEM_LOG_LEVEL: 'warn', ...process.env, TANDEM_PROPERTY_SEED: seed },
  });
  if (status !== 0) {
    failures++;
    process.stdout.write(stdout);
  }
  console.log(`# ${run} of ${count}: seed ${seed} ${status === 0 ? 'passed' : 'failed'}`);
}
console.log(`# ${Number(count) - failures} of ${count} seeds passed`);
process.exit(failures === 0 ? 0 : 1);
