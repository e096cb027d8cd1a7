// The listener of the admin port. Its routes are in web/admin.ts.

import type { ServerSettings } from '../../config.ts';
import { logger } from '../../telemetry.ts';
import type { ApiKeys } from '../admission/api-keys.ts';
import type { ServedBundles } from '../engine/served-bundles.ts';
import { adminHandler } from '../web/admin.ts';
import { tlsFiles } from '../web/tls.ts';
import type { Transport } from '../web/transport.ts';
import type { EventLoop } from './event-loop.ts';
import type { LoopThreads } from './loop-threads.ts';

/** The parts of a server that its admin port changes. */
export interface Administered {
  readonly bundles: ServedBundles;
  readonly keys: ApiKeys;
  readonly leading: EventLoop;
  readonly threads: LoopThreads;
}

/**
 * Listens on the admin port, with node:http whatever the public transport is: admin requests are
 * rare, and sockets of both ports would share the loop of uWebSockets.
 *
 * @returns undefined when the admin port is off.
 * @throws TandemError ERR_CONFIG_INVALID for an address in use.
 */
export async function listenAdmin(
  settings: ServerSettings,
  { bundles, keys, leading, threads }: Administered,
): Promise<Transport | undefined> {
  const { adminHost, adminPort, maxBodyBytes, maxFrameBytes, socketIdleSeconds } = settings;
  if (adminPort === 'off') return undefined;
  const { listenNode } = await import('../web/transport-node.ts');
  return listenNode({
    host: adminHost,
    port: adminPort,
    maxBodyBytes,
    maxFrameBytes,
    socketIdleSeconds,
    // The admin port has no WebSocket.
    socketPath: '',
    handleUpgrade: () => {
      throw new Error('Expected no WebSocket on the admin port.');
    },
    handleHead: () => undefined,
    handleRequest: adminHandler({
      bundles,
      keys,
      directory: settings.bundles,
      drain: async () => {
        leading.drain();
        await threads.drain();
      },
      setLogLevel: async (level) => {
        logger.level = level;
        await threads.setLogLevel(level);
      },
    }),
    tls: tlsFiles(settings),
    portSharing: 'none',
  });
}
