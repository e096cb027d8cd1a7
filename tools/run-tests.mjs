// Runs the tests in TypeScript. Node 20's --test takes no glob, so this script lists the files.
//
// Usage: node tools/run-tests.mjs [unit | e2e] [PART ...]. "unit" takes the tests in src/, "e2e"
// those in test/. PART is a part of the paths of test files.
import { spawnSync } from 'node:child_process';
import { softwareVulkan } from './software-vulkan.mjs';
import { testArguments, testFiles } from './test-files.mjs';

const given = process.argv.slice(2);
const suite = { unit: ['src'], e2e: ['test'] }[given[0]];
// The tests in test/ take longest, so they start first.
const files =
  suite === undefined ? testFiles(['test', 'src'], given) : testFiles(suite, given.slice(1));
const { env, reason } = softwareVulkan();
if (reason !== undefined) console.log(`# no software Vulkan device: ${reason}`);
const run = spawnSync(process.execPath, testArguments(files), {
  stdio: 'inherit',
  env: { TANDEM_LOG_LEVEL: 'warn', ...env, ...process.env },
});
process.exit(run.status ?? 1);
