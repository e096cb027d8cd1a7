// tandem serve: reads the settings, starts a server, and stops it at a signal.

import { Command } from 'commander';
import { logger } from '../telemetry.ts';
import { addSettingFlags, readSettings, type SettingFlags } from './server-settings.ts';

/**
 * Sockets that clients keep open would keep the process alive for seconds after the server closed.
 */
const EXIT_GRACE_MS = 500;

export function serveCommand(): Command {
  const command = new Command('serve').description(
    'answer requests from the current bundle; a flag for each setting',
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
          logger.error({ err: error }, 'stopping failed');
          process.exit(1);
        },
      );
    };
    process.on('SIGHUP', server.reload);
    process.on('SIGTERM', stop);
    process.on('SIGINT', stop);
  });
}
