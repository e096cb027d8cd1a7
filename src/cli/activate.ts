// tandem activate and tandem rollback: choose which bundle of a directory is current. Running
// servers notice the change and follow it.

import { Command } from 'commander';
import { activateBundle, rollbackBundle } from '../api/activate.ts';

export function activateCommand(): Command {
  return new Command('activate')
    .description('verify a published bundle and make it current')
    .argument('<name>', 'name of its folder in the directory of bundles')
    .requiredOption('--bundles <directory>', 'directory of bundles')
    .action(async (name: string, { bundles }: { bundles: string }) => {
      const report = await activateBundle(bundles, name);
      process.stdout.write(`${JSON.stringify({ current: name, bundleId: report.bundleId })}\n`);
    });
}

export function rollbackCommand(): Command {
  return new Command('rollback')
    .description('make the previously current bundle current again; repeat it to go further back')
    .requiredOption('--bundles <directory>', 'directory of bundles')
    .action(({ bundles }: { bundles: string }) => {
      process.stdout.write(`${JSON.stringify({ current: rollbackBundle(bundles) })}\n`);
    });
}
