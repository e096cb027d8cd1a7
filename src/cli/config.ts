// tandem config print: every setting of the server with its value and origin.

import { Command } from 'commander';
import { SETTING_NAMES } from '../config.ts';
import { withoutSecrets } from '../store/redis-location.ts';
import { addSettingFlags, readSettings, type SettingFlags } from './server-settings.ts';

export function configCommand(): Command {
  const command = new Command('config').description('show the settings of the server');
  const print = command
    .command('print')
    .description('print every setting with its value and origin: flag, environment, file, default');
  addSettingFlags(print).action((flags: SettingFlags) => {
    const { settings, origins } = readSettings(flags);
    const width = Math.max(...SETTING_NAMES.map((name) => name.length));
    for (const name of SETTING_NAMES) {
      const value = withoutSecrets(String(settings[name] ?? ''));
      process.stdout.write(`${name.padEnd(width)}  ${origins[name].padEnd(11)}  ${value}\n`);
    }
  });
  return command;
}
