// Who asks, and what they may: from an Authorization header to a client with a role and a rate.
// Transports and routes see no key but in authenticate(); nothing here logs or repeats one.

import { createHash, timingSafeEqual } from 'node:crypto';
import { unwatchFile, watchFile } from 'node:fs';
import { TandemError } from '../../errors.ts';
import { logger } from '../../telemetry.ts';
import { keyIdOf, readKeyFile, type KeyRecord, type Role } from './key-file.ts';
import { TokenBucket } from './token-bucket.ts';

const WATCH_INTERVAL_MS = 1000;
const BEARER = /^Bearer +(\S+)$/i;
/** What an unknown id is compared with, so that it takes as long as a known one. */
const NO_DIGEST = Buffer.alloc(32);

/** A key of the file, and the memory of its rate, which the event loops of a server share. */
export interface SharedKey {
  readonly record: KeyRecord;
  /** Absent when its rate is unlimited. */
  readonly bucket?: SharedArrayBuffer | undefined;
}

/** Milliseconds that mean the same on every thread. */
function nowMs(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}

/** One key, for as long as connections remember it: a change of the file reaches those that are open. */
export class Client {
  #record: KeyRecord | undefined;
  #digest = NO_DIGEST;
  #bucket: TokenBucket | undefined;
  #revoked = false;

  /** @param key - undefined for the client of a server without keys, which may do everything. */
  constructor(key: SharedKey | undefined) {
    if (key !== undefined) this.update(key);
  }

  /** Of its key; undefined without one. */
  get sha256(): string | undefined {
    return this.#record?.sha256;
  }

  /** Takes over a changed record; a bucket whose rate stays keeps its tokens. */
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

  /** Whether the key with this digest is this client's; takes the same time for any. */
  owns(digest: Uint8Array): boolean {
    return timingSafeEqual(digest, this.#digest);
  }

  /** @throws TandemError ERR_FORBIDDEN; ERR_UNAUTHENTICATED when the key was taken out of the file since. */
  require(role: Role): void {
    if (this.#revoked) throw unauthenticated('one that was revoked');
    const own = this.#record?.role ?? 'admin';
    if (own !== role && own !== 'admin')
      throw new TandemError(
        'ERR_FORBIDDEN',
        `Expected an API key with the role "${role}", received one with the role "${own}".`,
      );
  }

  /** Seconds until so many requests may be asked; 0 = now. */
  waitSeconds(requests: number): number {
    return this.#bucket?.waitSeconds(requests, nowMs()) ?? 0;
  }

  /** Counts requests against the rate; ask waitSeconds() first. */
  spend(requests: number): void {
    this.#bucket?.spend(requests, nowMs());
  }
}

/**
 * The keys of a server. Its admin port asks it, too: `keys.authenticate(header).require('admin')`.
 *
 * One event loop reads the file; it shares what it read with the others, which adopt() it.
 */
export class ApiKeys {
  readonly #path: string | undefined;
  /** Called when other keys hold from now on. */
  onChange: (keys: readonly SharedKey[]) => void = () => undefined;
  /** Whoever asks where no key is needed. */
  readonly anonymous: Client = new Client(undefined);
  #clients: ReadonlyMap<string, Client> = new Map();

  /**
   * @param path - a key file, or undefined to let everybody do everything.
   * @throws TandemError ERR_CONFIG_INVALID.
   */
  constructor(path: string | undefined) {
    this.#path = path;
    if (path !== undefined) this.#read(path);
  }

  /** Whether everybody may do everything. */
  get isOpen(): boolean {
    return this.#path === undefined;
  }

  /**
   * @param authorization - the header's value, empty when there is none.
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

  /** From now on these keys hold and no others; clients whose key stays are the same as before. */
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

  /** Reads the file again when it changes, looking once a second: also through the symbolic links of a mounted secret. */
  watch(): void {
    if (this.#path === undefined) return;
    watchFile(this.#path, { interval: WATCH_INTERVAL_MS, persistent: false }, this.reload);
  }

  unwatch(): void {
    if (this.#path !== undefined) unwatchFile(this.#path, this.reload);
  }

  /** Reads the file again; one that is broken leaves the keys as they are. */
  readonly reload = (): void => {
    if (this.#path === undefined) return;
    try {
      this.#read(this.#path);
      this.onChange(this.share());
      logger.info({ keys: this.#clients.size }, 'API keys read again');
    } catch (error) {
      logger.error({ err: error }, 'API keys could not be read again: the old ones stay');
    }
  };

  #read(path: string): void {
    this.adopt(readKeyFile(path).map((record) => ({ record })));
  }
}

function unauthenticated(received: string): TandemError {
  return new TandemError(
    'ERR_UNAUTHENTICATED',
    `Expected an API key of this server in the header "Authorization: Bearer KEY", received ${received}. "tandem keys add" makes one.`,
  );
}
