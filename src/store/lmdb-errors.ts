// What a failure of LMDB means, and what to do about it. LMDB words its own errors with a code such
// as MDB_MAP_FULL; for the system's errors it gives the text of strerror().

const REMEDIES: readonly (readonly [RegExp, string])[] = [
  [
    /MDB_MAP_FULL|[Nn]o space left/,
    'The disk is full: free space, or delete states of old encoders with a new store.',
  ],
  [
    /MDB_READERS_FULL/,
    'Too many processes or threads read this store: stop those that nobody needs.',
  ],
  [
    /MDB_VERSION_MISMATCH|MDB_INVALID|not a file of LMDB/,
    'It is not a store of this version: name another directory, or encode the users again.',
  ],
  [
    /MDB_CORRUPTED|MDB_PAGE_NOTFOUND|MDB_PANIC|MDB_BAD_/,
    'The store is damaged: restore a backup, or delete it and encode the users again.',
  ],
  [/Permission denied|EACCES|not permitted/, 'Give this user the right to read and write it.'],
  [/[Rr]ead-only file system/, 'Name a directory on a file system that is writable.'],
  [/Not a directory|EEXIST|ENOTDIR|file already exists/, 'It is a file: name a directory.'],
  [/No such file|ENOENT/, 'Check the path. "tandem encode users" creates a store.'],
  [/Cannot allocate memory/, 'Raise the limit of virtual memory (ulimit -v).'],
  [/Too many open files/, 'Raise the limit of open files (ulimit -n).'],
];

/**
 * What to do about an error.
 *
 * @param reason - the message of the error.
 */
export function lmdbRemedy(reason: string): string {
  const known = REMEDIES.find(([pattern]) => pattern.test(reason));
  return known?.[1] ?? 'Check its path, permissions and disk space.';
}
