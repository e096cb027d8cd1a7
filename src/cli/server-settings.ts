// The settings of the server on the command line: one flag for each setting, and --config for the
// file.

import type { Command } from 'commander';
import {
  SETTING_NAMES,
  describeSetting,
  flagOf,
  nearestVariable,
  resolveServerSettings,
  type ResolvedSettings,
} from '../config.ts';
import { logger } from '../telemetry.ts';

export type SettingFlags = Readonly<Record<string, string>>;

export function addSettingFlags(command: Command): Command {
  command.option(
    '--config <file>',
    'settings file (JSON); default: the file that TANDEM_CONFIG names',
  );
  for (const name of SETTING_NAMES)
    command.option(`${flagOf(name)} <value>`, describeSetting(name));
  return command;
}

/**
 * Resolves the settings from the flags of addSettingFlags(), the environment and the settings file.
 * Logs a warning for each TANDEM_* variable that no setting reads.
 *
 * @throws TandemError ERR_CONFIG_INVALID.
 */
export function readSettings({ config: file, ...flags }: SettingFlags): ResolvedSettings {
  const resolved = resolveServerSettings({ flags, environment: process.env, file });
  for (const variable of resolved.unknownVariables)
    logger.warn({ variable, nearest: nearestVariable(variable) }, 'no setting has this name');
  return resolved;
}
