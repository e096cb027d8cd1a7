// The location of a Redis store as people write it: redis://user:password@host:6379/0?prefix=shop:,
// or rediss:// for TLS.

import { TandemError, nearestName } from '../errors.ts';

export interface RedisLocation {
  readonly host: string;
  readonly port: number;
  readonly db: number;
  readonly username: string | undefined;
  readonly password: string | undefined;
  readonly tls: boolean;
  /** Every key begins with it, so that a database may hold other data, too. */
  readonly prefix: string;
}

const DEFAULT_PORT = 6379;
const DEFAULT_PREFIX = 'tandem:';
const PARAMETERS = ['prefix'];

/**
 * Parses a location.
 *
 * @throws TandemError ERR_CONFIG_INVALID that names the wrong part, without the password.
 */
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
      throw invalid(location, `no parameter "${name}"${suggestion(name)}`);
  return {
    // An IPv6 address has brackets in a URL, and none where a socket takes it.
    host: hostname.replace(/^\[(.*)\]$/, '$1'),
    port: port === '' ? DEFAULT_PORT : Number(port),
    db: Number(pathname.slice(1)),
    username: url.username === '' ? undefined : decoded(location, url.username),
    password: url.password === '' ? undefined : decoded(location, url.password),
    tls: protocol === 'rediss:',
    prefix: searchParams.get('prefix') ?? DEFAULT_PREFIX,
  };
}

function suggestion(name: string): string {
  const nearest = nearestName(name, PARAMETERS);
  return nearest === undefined ? '' : ` (did you mean "${nearest}"?)`;
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
    `Expected ${expected} in the location of the store, received ${withoutSecrets(location)}. ` +
      'Write redis://host:port/database?prefix=name: or rediss:// for TLS, ' +
      'with user:password@ before the host.',
  );
}

/** A location without user and password, for logs and messages. A path stays as it is. */
export function withoutSecrets(location: string): string {
  return location.replace(/^([a-z][a-z0-9+.-]*:\/\/)[^]*@/i, '$1***@');
}
