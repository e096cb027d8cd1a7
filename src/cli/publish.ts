// tandem publish: turns a finished training run into a bundle.

import { Command, InvalidArgumentError, Option } from 'commander';
import { publish } from '../api/publish.ts';
import { MIN_KEPT_BUNDLES } from '../bundle/current.ts';
import type { IndexKind } from '../retrieval/search-plan.ts';
import type { StateType } from '../features/user-state.ts';
import { indexOption } from './index-option.ts';

interface PublishFlags {
  readonly checkpoint: string;
  readonly bundles: string;
  readonly index: IndexKind;
  readonly stateType: StateType;
  readonly activate: boolean;
  readonly keep?: number;
}

export function publishCommand(): Command {
  return new Command('publish')
    .description('publish a finished training run as an immutable bundle and make it current')
    .requiredOption('--checkpoint <directory>', 'finished training run')
    .requiredOption('--bundles <directory>', 'directory of bundles')
    .addOption(indexOption())
    .addOption(
      new Option('--state-type <name>', 'number format in which user states are stored')
        .choices(['f32', 'bf16', 'int8'])
        .default('f32'),
    )
    .option(
      '--no-activate',
      'do not make the bundle current: first encode users for it, then run "tandem activate"',
    )
    .option(
      '--keep <count>',
      `then keep the last <count> bundles that were current, at least ${MIN_KEPT_BUNDLES}, ` +
        'and delete older ones',
      countToKeep,
    )
    .action(async ({ checkpoint, bundles, index, stateType, activate, keep }: PublishFlags) => {
      const report = await publish({
        checkpoint,
        bundles,
        index,
        stateType,
        activate,
        ...(keep !== undefined && { keep }),
      });
      process.stdout.write(`${JSON.stringify(report)}\n`);
    });
}

function countToKeep(text: string): number {
  const count = Number(text);
  if (Number.isInteger(count) && count >= MIN_KEPT_BUNDLES) return count;
  throw new InvalidArgumentError(
    `Expected a whole number from ${MIN_KEPT_BUNDLES}, because a rollback needs that many bundles.`,
  );
}
