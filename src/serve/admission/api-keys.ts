// From an Authorization header to a client with a role and a rate. Transports and routes pass a key
// only to authenticate(), and nothing in this file logs a key or puts one into a message.

import { createHash, timingSafeEqual } from 'node:crypto';
import { unwatchFile, watchFile } from 'node:fs';
import { TandemError } from '../../errors.ts';
import { logger } from '../../telemetry.ts';
import { keyIdOf, readKeyFile, type KeyRecord, type Role } from './key-file.ts';
import { TokenBucket } from './token-bucket.ts';

const WATCH_INTERVAL_MS = 1000;
const BEARER = /^Bearer +(\S+)$/i;
/** An unknown key id is compared with this, so that it takes as long as a known one. */
const NO_DIGEST = Buffer.alloc(32);

/** A key of the file with its token bucket, which the event loops of a server share. */
export interface SharedKey {
  readonly record: KeyRecord;
  /** Memory of the token bucket. Absent when the rate is unlimited. */
  readonly bucket?: SharedArrayBuffer | undefined;
}

/** Milliseconds of a clock that all threads share; performance.now() differs by thread. */
function nowMs(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}

/**
 * The holder of an API key. Open connections keep their Client, so a change of the key file reaches
 * them, too.
 */
export class Client {
  #record: KeyRecord | undefined;
  #digest = NO_DIGEST;
  #bucket: TokenBucket | undefined;
  #revoked = false;

  /** @param key - undefined for the client of a server without keys, who has all rights. */
  constructor(key: SharedKey | undefined) {
    if (key !== undefined) this.update(key);
  }

  /** The digest of the key; undefined without a key. */
  get sha256(): string | undefined {
    return this.#record?.sha256;
  }

  /** Adopts a changed record. The bucket keeps its tokens when the rate stays the same. */
  update({ record, bucket }: SharedKey): void {
    const { requestsPerSecond: rate, burst } = record;
    if (rate === undefined) this.#bucket = undefined;
    else if (
      bucket !== undefined ||
      rate !== this.#record?.requestsPerSecond ||
      burst !== this.#record.burst
    )
      this.#bucket = new TokenBucket(rate, burst ?? Math.max(1, Math.ceil(rate)), bucket);
    this.#record = record;
    this.#digest = Buffer.from(record.sha256, 'hex');
  }

  share(): SharedKey {
    return { record: this.#record!, bucket: this.#bucket?.memory };
  }

  revoke(): void {
    this.#revoked = true;
  }

  /** Whether this client has the key with this digest. It takes the same time for any digest. */
  owns(digest: Uint8Array): boolean {
    return timingSafeEqual(digest, this.#digest);
  }

  /**
   * Checks that the client has a role, or the role "admin".
   *
   * @throws TandemError ERR_FORBIDDEN; ERR_UNAUTHENTICATED when the key was removed from the file.
   */
  require(role: Role): void {
    if (this.#revoked) throw unauthenticated('one that was revoked');
    const own = this.#record?.role ?? 'admin';
    if (own !== role && own !== 'admin')
      throw new TandemError(
        'ERR_FORBIDDEN',
        `Expected an API key with the role "${role}", received one with the role "${own}".`,
      );
  }

  /** Returns the seconds until the rate allows so many requests; 0 means now. */
  waitSeconds(requests: number): number {
    return this.#bucket?.waitSeconds(requests, nowMs()) ?? 0;
  }

  /** Counts requests against the rate. Call waitSeconds() first. */
  spend(requests: number): void {
    this.#bucket?.spend(requests, nowMs());
  }
}

/**
 * The keys of a server, for its public port and its admin port.
 *
 * One event loop reads the file and shares the keys with the other event loops, which adopt() them.
 */
export class ApiKeys {
  readonly #path: string | undefined;
  #listener: (keys: readonly SharedKey[]) => Promise<void> = () => Promise.resolve();
  /** The client of requests that need no key. */
  readonly anonymous: Client = new Client(undefined);
  #clients: ReadonlyMap<string, Client> = new Map();

  /**
   * @param path - a key file. Undefined means that every client has all rights.
   * @throws TandemError ERR_CONFIG_INVALID.
   */
  constructor(path: string | undefined) {
    this.#path = path;
    if (path !== undefined) this.#read(path);
  }

  /** Whether every client has all rights. */
  get isOpen(): boolean {
    return this.#path === undefined;
  }

  /**
   * Finds the client that an Authorization header belongs to.
   *
   * @param authorization - value of the header, empty when the request has none.
   * @throws TandemError ERR_UNAUTHENTICATED.
   */
  authenticate(authorization: string): Client {
    if (this.isOpen) return this.anonymous;
    if (authorization === '') throw unauthenticated('none');
    const key = BEARER.exec(authorization)?.[1];
    const id = key === undefined ? undefined : keyIdOf(key);
    if (key === undefined || id === undefined) throw unauthenticated('something else');
    const digest = createHash('sha256').update(key).digest();
    const client = this.#clients.get(id);
    if (!(client ?? this.anonymous).owns(digest) || client === undefined)
      throw unauthenticated('one that is not known');
    return client;
  }

  share(): readonly SharedKey[] {
    return [...this.#clients.values()].map((client) => client.share());
  }

  /** Replaces all keys. Clients whose key is in both sets stay the same objects. */
  adopt(keys: readonly SharedKey[]): void {
    const before = this.#clients;
    const clients = new Map<string, Client>();
    for (const key of keys) {
      const { id, sha256 } = key.record;
      const known = before.get(id);
      if (known?.sha256 === sha256) known.update(key);
      clients.set(id, known?.sha256 === sha256 ? known : new Client(key));
    }
    for (const [id, client] of before) if (clients.get(id) !== client) client.revoke();
    this.#clients = clients;
  }

  /**
   * Tells a listener the keys now, and again each time that the file has been read. The promise
   * resolves when the listener has the present keys.
   */
  announceTo(listener: (keys: readonly SharedKey[]) => Promise<void>): Promise<void> {
    this.#listener = listener;
    return listener(this.share());
  }

  /**
   * Checks the file once a second and reads it again when it has changed. Polling also notices a
   * change behind the symbolic links of a mounted secret.
   */
  watch(): void {
    if (this.#path === undefined) return;
    watchFile(this.#path, { interval: WATCH_INTERVAL_MS, persistent: false }, this.reload);
  }

  unwatch(): void {
    if (this.#path !== undefined) unwatchFile(this.#path, this.reload);
  }

  /** Reads the file again. A file that is invalid leaves the keys as they are. */
  readonly reload = (): void => {
    if (this.#path === undefined) return;
    try {
      this.#read(this.#path);
      logger.info({ keys: this.#clients.size }, 'API keys read again');
    } catch (error) {
      logger.error({ err: error }, 'API keys could not be read again: the old ones stay');
      return;
    }
    this.#listener(this.share()).catch((error: unknown) => {
      logger.error({ err: error }, 'other event loops could not be told the API keys');
    });
  };

  #read(path: string): void {
    this.adopt(readKeyFile(path).map((record) => ({ record })));
  }
}

function unauthenticated(received: string): TandemError {
  return new TandemError(
    'ERR_UNAUTHENTICATED',
    'Expected an API key of this server in the header "Authorization: Bearer KEY", ' +
      `received ${received}. "tandem keys add" makes one.`,
  );
}
