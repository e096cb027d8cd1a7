// tandem supervise: `tandem serve` with the same flags, started again when it dies.

import { Command } from 'commander';
import { Supervisor } from '../serve/process/supervisor.ts';
import { addSettingFlags, readSettings, type SettingFlags } from './server-settings.ts';

export function superviseCommand(): Command {
  const command = new Command('supervise').description(
    'serve, and start again after a crash; three crashes in a minute roll back to the bundle before',
  );
  return addSettingFlags(command).action(async (flags: SettingFlags) => {
    // Wrong settings end it here, instead of in a loop.
    const { settings } = readSettings(flags);
    const [, program] = process.argv;
    const supervisor = new Supervisor({
      command: [...process.execArgv, program!, 'serve', ...process.argv.slice(3)],
      bundles: settings.bundles,
    });
    for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const)
      process.on(signal, () => {
        supervisor.signal(signal);
      });
    process.exitCode = await supervisor.run();
  });
}
