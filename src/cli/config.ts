// tandem config print: every setting of the server as it would be, and where its value comes from.

import { Command } from 'commander';
import {
  SETTING_NAMES,
  describeSetting,
  flagOf,
  nearestVariable,
  resolveServerSettings,
} from '../config.ts';

export function configCommand(): Command {
  const command = new Command('config').description('settings of the server');
  const print = command
    .command('print')
    .description('print every setting with its value and origin: flag, environment, file, default')
    .option('--config <file>', 'settings file (JSON); TANDEM_CONFIG names it too');
  for (const name of SETTING_NAMES) print.option(`${flagOf(name)} <value>`, describeSetting(name));
  print.action((options: Record<string, string>) => {
    const { config: file, ...flags } = options;
    const resolved = resolveServerSettings({ flags, environment: process.env, file });
    const { settings, origins, unknownVariables } = resolved;
    const width = Math.max(...SETTING_NAMES.map((name) => name.length));
    for (const name of SETTING_NAMES)
      process.stdout.write(
        `${name.padEnd(width)}  ${origins[name].padEnd(11)}  ${String(settings[name] ?? '')}\n`,
      );
    for (const variable of unknownVariables) {
      const near = nearestVariable(variable);
      process.stderr.write(
        `${variable}: no setting of this name${near === undefined ? '' : `, did you mean ${near}?`}\n`,
      );
    }
  });
  return command;
}
