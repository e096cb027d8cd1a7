// tandem activate and tandem rollback: which bundle of a directory is current. Servers on that directory follow by themselves.

import { Command } from 'commander';
import { activateBundle, rollbackBundle } from '../bundle/current.ts';
import { verifyBundle } from '../bundle/verify.ts';
import { TandemError } from '../errors.ts';
import { join } from 'node:path';

export function activateCommand(): Command {
  return new Command('activate')
    .description('verify a published bundle and make it current')
    .argument('<name>', 'its directory in the directory of bundles')
    .requiredOption('--bundles <directory>', 'where bundles lie')
    .action(async (name: string, { bundles }: { bundles: string }) => {
      const report = await verifyBundle(join(bundles, name));
      if (!report.passed)
        throw new TandemError(
          'ERR_BUNDLE_INVALID',
          `Expected bundle ${name} to give its golden answers, but it does not. Nothing was changed; "tandem verify" has the report.`,
        );
      activateBundle(bundles, name);
      process.stdout.write(`${JSON.stringify({ current: name, bundleId: report.bundleId })}\n`);
    });
}

export function rollbackCommand(): Command {
  return new Command('rollback')
    .description(
      'make the bundle before the current one current again; repeated, it goes further back',
    )
    .requiredOption('--bundles <directory>', 'where bundles lie')
    .action(({ bundles }: { bundles: string }) => {
      process.stdout.write(`${JSON.stringify({ current: rollbackBundle(bundles) })}\n`);
    });
}
