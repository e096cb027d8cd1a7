// tandem serve: settings from flags, environment and file; a server until a signal stops it.

import { Command } from 'commander';
import { logger } from '../telemetry.ts';
import { addSettingFlags, readSettings, type SettingFlags } from './server-settings.ts';

/** Sockets that clients keep open would hold the process for seconds after everything is closed. */
const EXIT_GRACE_MS = 500;

/** The `serve` command; its flags are the settings of config.ts. */
export function serveCommand(): Command {
  const command = new Command('serve').description(
    'answer candidate requests from a published bundle',
  );
  return addSettingFlags(command).action(async (flags: SettingFlags) => {
    const { settings } = readSettings(flags);
    const { startServer } = await import('../serve/process/server.ts');
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
    process.on('SIGHUP', server.reload);
    process.on('SIGTERM', stop);
    process.on('SIGINT', stop);
  });
}
