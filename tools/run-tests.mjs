// Decides how the tests in TypeScript run: node:test through tsx, two files at a time. Node 20's
// --test takes no glob, so this script lists the files.
//
// Usage: node tools/run-tests.mjs [PATTERN [PART]]. It runs all *.test.ts below the first folder of
// PATTERN whose paths contain PART.
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { softwareVulkan } from './software-vulkan.mjs';

const pattern = process.argv[2] ?? 'src/**/*.test.ts';
const root = pattern.split('/')[0];
const only = process.argv[3] ?? '';
const files = readdirSync(root, { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('.test.ts') && name.includes(only))
  .map((name) => join(root, name))
  .sort();
if (files.length === 0) {
  console.error(`Expected at least one test file for ${pattern} ${only}, found none.`);
  process.exit(1);
}
/**
 * Many times the duration of the longest file. A file that never ends, because a test left a server
 * open, must not withhold the results of the others.
 */
const TIMEOUT_MS = 600_000;
const { env, reason } = softwareVulkan();
if (reason !== undefined) console.log(`# no software Vulkan device: ${reason}`);
const run = spawnSync(
  process.execPath,
  [
    '--import',
    'tsx',
    '--import',
    join(import.meta.dirname, 'property-seed.mjs'),
    '--test',
    '--test-reporter=spec',
    '--test-concurrency=2',
    `--test-timeout=${TIMEOUT_MS}`,
    ...files,
  ],
  { stdio: 'inherit', env: { TANDEM_LOG_LEVEL: 'warn', ...env, ...process.env } },
);
process.exit(run.status ?? 1);
