// Runs all tests, and prints how long each part took.
//
// Usage: node tools/test.mjs [quick | long]. The quick form is `npm test`. The long form also runs
// what takes too long there, and the tests of the quick form with more repetitions and other seeds.
// .ci/run lists what CI runs between the two.
import { Buffer } from 'node:buffer';
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';

const root = join(import.meta.dirname, '..');

/** Rows of the reliability tests that take seconds. */
const QUICK_ROWS = ['non-finite', 'store-outage', 'mixed-versions'];
const RELIABILITY = 'node --import ./tools/typescript.mjs test/reliability/main.ts';

// The lint checks the types.
const BUILD_AND_LINT = 'npm run --silent build:ts -- --noCheck && npm run --silent lint:code';
const FORMS = {
  // A stage runs its parts in parallel, and the next stage begins when all have ended.
  quick: [
    {
      // It also builds the addon.
      'native build and tests': 'node tools/test-native.mjs addon',
      'build and lint': BUILD_AND_LINT,
    },
    {
      tests: 'node tools/run-tests.mjs',
      reliability: `${RELIABILITY} ${QUICK_ROWS.join(' ')}`,
    },
  ],
  long: [
    { 'native build': 'npm run --silent build:native', 'build and lint': BUILD_AND_LINT },
    { style: 'npm run --silent lint:style' },
    { 'native tests, all presets': 'node tools/test-native.mjs' },
    { tests: 'node tools/run-tests.mjs' },
    { 'property tests, 20 seeds': 'node tools/test-seeds.mjs 20' },
    { 'reliability, long form': `${RELIABILITY} --long` },
    { 'other versions of Node': 'npm run --silent test:other-nodes' },
    { package: 'npm run --silent test:package' },
  ],
};
const form = process.argv[2] ?? 'quick';
const stages = FORMS[form];
if (stages === undefined) {
  console.error(`Expected quick or long as form of the tests, received "${form}".`);
  process.exit(1);
}
const isLong = form === 'long';
// One seed for all files, so that one line says how to repeat them.
const seed = process.env.TANDEM_PROPERTY_SEED ?? String(Math.floor(Math.random() * 2 ** 31));
const env = {
  ...process.env,
  ...(isLong && { TANDEM_TESTS: 'long', TANDEM_PROPERTY_SEED: seed }),
};

/**
 * Runs one part.
 *
 * @param isShown - whether it writes to the terminal itself. Others are printed when they end.
 */
async function runPart(name, command, isShown) {
  const startedMs = performance.now();
  const child = spawn(command, { cwd: root, env, shell: true, stdio: stdioOf(isShown) });
  const output = [];
  for (const stream of [child.stdout, child.stderr])
    stream?.on('data', (chunk) => output.push(chunk));
  const code = await new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  process.stdout.write(Buffer.concat(output));
  const seconds = Math.round((performance.now() - startedMs) / 1000);
  return { name, seconds, code };
}

const stdioOf = (isShown) => (isShown ? 'inherit' : ['ignore', 'pipe', 'pipe']);

const results = [];
for (const stage of stages) {
  const parts = Object.entries(stage);
  console.log(`# ${parts.map(([name]) => name).join(' | ')}`);
  results.push(
    ...(await Promise.all(
      parts.map(([name, command]) =>
        runPart(name, command, name === 'tests' || parts.length === 1),
      ),
    )),
  );
  if (results.some(({ code }) => code !== 0)) break;
}
console.log('');
for (const { name, seconds, code } of results)
  console.log(`# ${name}: ${code === 0 ? 'passed' : 'failed'} in ${seconds} s`);
console.log(`# ${Math.round(performance.now() / 1000)} s`);
if (isLong) console.log(`# property tests: TANDEM_PROPERTY_SEED=${seed} repeats these`);
process.exit(results.every(({ code }) => code === 0) ? 0 : 1);
