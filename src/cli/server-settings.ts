// The server's settings on a command line: one flag for each, and the settings file. For commands that serve or show them.

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
  command.option('--config <file>', 'settings file (JSON); TANDEM_CONFIG names it too');
  for (const name of SETTING_NAMES)
    command.option(`${flagOf(name)} <value>`, describeSetting(name));
  return command;
}

/**
 * Resolves what addSettingFlags() made of the command line; warns of TANDEM_* variables that no setting reads.
 *
 * @throws TandemError ERR_CONFIG_INVALID.
 */
export function readSettings({ config: file, ...flags }: SettingFlags): ResolvedSettings {
  const resolved = resolveServerSettings({ flags, environment: process.env, file });
  for (const variable of resolved.unknownVariables)
    logger.warn({ variable, nearest: nearestVariable(variable) }, 'no setting of this name');
  return resolved;
}
