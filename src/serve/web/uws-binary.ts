// Finds and loads the native build of uWebSockets. It is the only file that does: the JavaScript of
// the npm packages is never run, because one of them falls back to a slow imitation.

import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import type * as Uws from 'uWebSockets.js';
import { UWS_DIGESTS } from './uws-digests.ts';

/** What a binary exports and the transport uses. */
export interface NativeUws extends Pick<
  typeof Uws,
  'App' | 'SSLApp' | 'us_listen_socket_close' | 'us_socket_local_port'
> {
  readonly LIBUS_LISTEN_EXCLUSIVE_PORT: number;
}

const EXPORTS: readonly (keyof NativeUws)[] = [
  'App',
  'SSLApp',
  'us_listen_socket_close',
  'us_socket_local_port',
  'LIBUS_LISTEN_EXCLUSIVE_PORT',
];

/** Which binary fits a Node. */
export interface BinaryTarget {
  readonly platform: string;
  readonly arch: string;
  /** NODE_MODULE_VERSION: 115 in Node 20, 127 in Node 22, 137 in Node 24. */
  readonly abi: string;
}

/** The native build, or why none of the installed ones can be used. */
export type UwsSearch =
  | { readonly uws: NativeUws; readonly path: string }
  | { readonly uws: undefined; readonly reason: string };

/** The npm packages that contain binaries, in the order in which they are tried. */
function places({ platform, arch, abi }: BinaryTarget): { package: string; file: string }[] {
  const name = `uws_${platform}_${arch}_${abi}.node`;
  return [
    { package: 'uwebsockets', file: name },
    { package: `tandem-${platform}-${arch}-gnu`, file: join('uws', name) },
    { package: 'uWebSockets.js', file: join('binaries', name) },
  ];
}

/**
 * Loads the native build of uWebSockets from the first installed package that has it.
 *
 * @param require - resolves packages and loads the binary.
 */
export function findUws(
  target: BinaryTarget = ownTarget(),
  require: NodeJS.Require = createRequire(import.meta.url),
): UwsSearch {
  const reasons: string[] = [];
  for (const place of places(target)) {
    const found = attempt(place, target, require);
    if (typeof found !== 'string') return found;
    reasons.push(`${place.package}: ${found}`);
  }
  return { uws: undefined, reason: reasons.join('; ') };
}

function ownTarget(): BinaryTarget {
  return { platform: process.platform, arch: process.arch, abi: process.versions.modules };
}

/** @returns the binary, or why this package does not provide it. */
function attempt(
  place: { readonly package: string; readonly file: string },
  { platform, arch, abi }: BinaryTarget,
  require: NodeJS.Require,
): { uws: NativeUws; path: string } | string {
  let folder: string;
  try {
    folder = dirname(require.resolve(`${place.package}/package.json`));
  } catch {
    return 'not installed';
  }
  const path = join(folder, place.file);
  if (!existsSync(path)) return `no file ${place.file}`;
  const digest = createHash('sha256').update(readFileSync(path)).digest('hex');
  if (!(UWS_DIGESTS[`${platform}_${arch}_${abi}`] ?? []).includes(digest))
    return `${place.file} is not a known build, its SHA-256 is ${digest}`;
  try {
    const uws = require(path) as NativeUws;
    const missing = EXPORTS.filter((name) => !(name in uws));
    if (missing.length > 0) return `${place.file} has no ${missing.join(', ')}`;
    return { uws, path };
  } catch (error) {
    return `${place.file} does not load: ${(error as Error).message.trim().split('\n')[0]!}`;
  }
}
