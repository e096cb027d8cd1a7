// tandem supervise: runs tandem serve with the same flags, and restarts it after a crash.

import { Command } from 'commander';
import { Supervisor } from '../serve/process/supervisor.ts';
import { addSettingFlags, readSettings, type SettingFlags } from './server-settings.ts';

export function superviseCommand(): Command {
  const command = new Command('supervise').description(
    'serve, and restart after a crash; three crashes in a minute roll the bundle back',
  );
  return addSettingFlags(command).action(async (flags: SettingFlags) => {
    // Wrong settings end the command here. In the child, they would cause a loop of restarts.
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
