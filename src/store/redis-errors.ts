// What a failure of Redis or of the connection to it means, and what to do about it. Redis begins
// each error reply with a word in capitals; Node gives a failed connection a code.

/** Whether Redis itself sent the error as its answer to a command. */
export function isReply(error: unknown): boolean {
  return error instanceof Error && error.name === 'ReplyError';
}

/** Whether Redis refused the SELECT that begins a connection. Its data would land in database 0. */
export function isRefusedDatabase(error: unknown): boolean {
  if (!isReply(error)) return false;
  const { command } = error as { readonly command?: { readonly name: string } };
  return command?.name === 'select';
}

/**
 * The message of an error. A transaction fails with EXECABORT; the reason is the reply to one of
 * its commands.
 */
export function reasonOf(error: unknown): string {
  const { previousErrors } = error as { readonly previousErrors?: readonly Error[] };
  const first = previousErrors?.[0] ?? error;
  return (first instanceof Error ? first.message : String(first)).replace(/\.$/, '');
}

const REMEDIES: readonly (readonly [RegExp, string])[] = [
  [
    /SELECT is not allowed in cluster mode/,
    'A Redis Cluster has database 0 alone: leave the number out of the location.',
  ],
  [
    /DB index|not an integer or out of range/,
    'Use a number below the "databases" setting of this Redis, which is 16 by default.',
  ],
  [/^(NOAUTH|WRONGPASS)|without any password/, 'Check user:password@ in the location.'],
  [/^NOPERM/, 'Give this user of Redis the commands and keys that it lacks (ACL SETUSER).'],
  [/^READONLY/, 'This is a replica: use the address of its primary.'],
  [/^OOM/, 'The Redis is full: raise its maxmemory, or delete states of old encoders.'],
  [/^LOADING/, 'Redis is still loading its data: try again when it has finished.'],
  [/^(MISCONF|MASTERDOWN|NOREPLICAS)/, 'Redis refuses this until its own problem is solved.'],
  [
    /^(MOVED|ASK|CROSSSLOT|CLUSTERDOWN)/,
    'This is a Redis Cluster: use one Redis, because each call reads many keys at once.',
  ],
  [/ENOTFOUND|EAI_AGAIN/, 'Check the host name in the location.'],
  [/ECONNREFUSED/, 'Check that Redis runs, and host and port in the location.'],
  [
    /certificate|self-signed|CERT_/,
    'Name your certificate authority in NODE_EXTRA_CA_CERTS, and use the host of the certificate.',
  ],
  [
    /wrong version number|packet length too long|SSL|TLS/,
    'Write redis:// for a port without TLS, and rediss:// for a port with it.',
  ],
];

/**
 * What to do about an error.
 *
 * @param reason - the message of the error.
 */
export function redisRemedy(reason: string): string {
  const known = REMEDIES.find(([pattern]) => pattern.test(reason));
  return known?.[1] ?? 'Check that Redis runs, its address, password and memory.';
}
