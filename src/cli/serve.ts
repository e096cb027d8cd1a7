// tandem serve: settings from flags, environment and file; a server until a signal stops it.

import { Command } from 'commander';
import {
  SETTING_NAMES,
  describeSetting,
  flagOf,
  nearestVariable,
  resolveServerSettings,
} from '../config.ts';
import { logger } from '../telemetry.ts';

/** Sockets that clients keep open would hold the process for seconds after everything is closed. */
const EXIT_GRACE_MS = 500;

/** The `serve` command; its flags are the settings of config.ts. */
export function serveCommand(): Command {
  const command = new Command('serve').description(
    'answer candidate requests from a published bundle',
  );
  command.option('--config <file>', 'settings file (JSON); TANDEM_CONFIG names it too');
  for (const name of SETTING_NAMES)
    command.option(`${flagOf(name)} <value>`, describeSetting(name));
  return command.action(async (options: Record<string, string>) => {
    const { config: file, ...flags } = options;
    const { settings, unknownVariables } = resolveServerSettings({
      flags,
      environment: process.env,
      file,
    });
    for (const variable of unknownVariables)
      logger.warn({ variable, nearest: nearestVariable(variable) }, 'no setting of this name');
    const { startServer } = await import('../serve/server.ts');
    const server = await startServer(settings);
    const stop = (signal: NodeJS.Signals): void => {
      logger.info({ signal }, 'stopping');
      server.close().then(
        () => {
          process.exitCode = 0;
          setTimeout(() => process.exit(), EXIT_GRACE_MS).unref();
        },
        (error: unknown) => {
          logger.error({ err: error }, 'stop failed');
          process.exit(1);
        },
      );
    };
    process.on('SIGHUP', server.reloadKeys);
    process.on('SIGTERM', stop);
    process.on('SIGINT', stop);
  });
}
