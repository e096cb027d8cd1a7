// Where a Redis store is, as people write it: redis://user:password@host:6379/0?prefix=shop: (rediss:// over TLS).

import { TandemError, nearestName } from '../errors.ts';

export interface RedisLocation {
  readonly host: string;
  readonly port: number;
  readonly db: number;
  readonly username: string | undefined;
  readonly password: string | undefined;
  readonly tls: boolean;
  /** Begins every key. */
  readonly prefix: string;
}

const DEFAULT_PORT = 6379;
const DEFAULT_PREFIX = 'tandem:';
const PARAMETERS = ['prefix'];

/** @throws TandemError ERR_CONFIG_INVALID that says which part is wrong, without the password. */
export function parseRedisLocation(location: string): RedisLocation {
  let url: URL;
  try {
    url = new URL(location);
  } catch {
    throw invalid(location, 'a URL');
  }
  const { protocol, hostname, port, pathname, searchParams } = url;
  if (hostname === '') throw invalid(location, 'a host');
  if (!/^(\/\d*)?$/.test(pathname)) throw invalid(location, 'the number of a database as path');
  for (const name of searchParams.keys())
    if (!PARAMETERS.includes(name))
      throw invalid(
        location,
        `no parameter "${name}"${nearestName(name, PARAMETERS) === undefined ? '' : ' (did you mean "prefix"?)'}`,
      );
  return {
    // An IPv6 address has brackets in a URL and none in a socket's.
    host: hostname.replace(/^\[(.*)\]$/, '$1'),
    port: port === '' ? DEFAULT_PORT : Number(port),
    db: Number(pathname.slice(1)),
    username: url.username === '' ? undefined : decoded(location, url.username),
    password: url.password === '' ? undefined : decoded(location, url.password),
    tls: protocol === 'rediss:',
    prefix: searchParams.get('prefix') ?? DEFAULT_PREFIX,
  };
}

function decoded(location: string, text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw invalid(location, 'a percent-encoded user and password');
  }
}

function invalid(location: string, expected: string): TandemError {
  return new TandemError(
    'ERR_CONFIG_INVALID',
    `Expected ${expected} in the location of the store, received ${withoutSecrets(location)}. Write redis://host:port/database?prefix=name: or rediss:// for TLS, with user:password@ before the host.`,
  );
}

/** A location as it may be shown: without user and password. What is no URL is shown as it is. */
export function withoutSecrets(location: string): string {
  return location.replace(/^([a-z][a-z0-9+.-]*:\/\/)[^]*@/i, '$1***@');
}
