// Builds the addon with cmake-js into build/Release; cmake itself does nothing when nothing changed.
import { spawnSync } from 'node:child_process';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';

const require = createRequire(import.meta.url);
const cmakeJs = join(dirname(require.resolve('cmake-js/package.json')), 'bin', 'cmake-js');
const run = spawnSync(process.execPath, [cmakeJs, 'build', '--log-level', 'warn', ...process.argv.slice(2)], {
  stdio: ['ignore', 'inherit', 'inherit'],
  cwd: join(import.meta.dirname, '..'),
});
if (run.error) throw run.error;
process.exit(run.status ?? 1);
