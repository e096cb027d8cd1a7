// Decides which transport a server uses, and says why.

import { TandemError } from '../../errors.ts';
import type { Transport } from './transport.ts';
import { findUws } from './uws-binary.ts';
import { UWEBSOCKETS_VERSION } from './uws-digests.ts';

export interface TransportChoice {
  readonly name: Transport['name'];
  /** Half a sentence, for the log and for GET /version. */
  readonly reason: string;
}

/**
 * @param setting - the setting `transport`.
 * @throws TandemError ERR_NATIVE_UNAVAILABLE when the setting demands uWebSockets and its native
 *   build does not load.
 */
export function chooseTransport(setting: 'auto' | 'uws' | 'node'): TransportChoice {
  if (setting === 'node') return { name: 'node', reason: 'the setting transport is "node"' };
  const found = findUws();
  if (found.uws !== undefined)
    return {
      name: 'uws',
      reason:
        setting === 'uws'
          ? 'the setting transport is "uws"'
          : 'the native build of uWebSockets loads on this machine',
    };
  if (setting === 'uws') throw noNativeUws(found.reason);
  return {
    name: 'node',
    reason: `no native build of uWebSockets loads on this machine (${found.reason})`,
  };
}

/** @param reason - why no build loads, from findUws(). */
export function noNativeUws(reason: string): TandemError {
  return new TandemError(
    'ERR_NATIVE_UNAVAILABLE',
    `Expected a native build of uWebSockets for Node ${process.version} on ` +
      `${process.platform}-${process.arch}, but none loads: ${reason}. ${UWS_REMEDY}`,
    { details: { node: process.version } },
  );
}

export const UWS_REMEDY: string =
  'Choose the transport node:http with --transport node (or auto), or install a build: ' +
  `"npm install uwebsockets@${UWEBSOCKETS_VERSION}" has one for Node 20, and for Node 22 and 24 ` +
  'with glibc 2.38 or newer.';
