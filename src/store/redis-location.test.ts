import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { TandemError } from '../errors.ts';
import { parseRedisLocation, withoutSecrets } from './redis-location.ts';

describe('parseRedisLocation', () => {
  it('uses defaults for missing parts', () => {
    assert.deepEqual(parseRedisLocation('redis://cache'), {
      host: 'cache',
      port: 6379,
      db: 0,
      tls: false,
      prefix: 'tandem:',
      username: undefined,
      password: undefined,
    });
  });

  it('reads every part', () => {
    assert.deepEqual(parseRedisLocation('rediss://me:p%40ss%2F@[::1]:7000/3?prefix=shop%3A'), {
      host: '::1',
      port: 7000,
      db: 3,
      tls: true,
      prefix: 'shop:',
      username: 'me',
      password: 'p@ss/',
    });
  });

  it('names the wrong part, without the password', () => {
    for (const [location, expected] of [
      ['redis://me:secret@', /a URL/],
      ['redis://:secret@host:99999', /a URL/],
      ['redis://:secret@host/shop', /number of a database/],
      ['redis://:secret@host/0?prefx=a', /no parameter "prefx".*did you mean "prefix"/],
      ['redis://:secret%@host', /percent-encoded/],
    ] as const)
      assert.throws(
        () => parseRedisLocation(location),
        (error) =>
          error instanceof TandemError &&
          error.code === 'ERR_CONFIG_INVALID' &&
          expected.test(error.message) &&
          !error.message.includes('secret'),
        location,
      );
  });
});

describe('withoutSecrets', () => {
  it('removes any user and password', () => {
    fc.assert(
      fc.property(fc.string({ minLength: 1 }), (text) => {
        const secret = `<<${text}>>`;
        const shown = withoutSecrets(`redis://user:${secret}@host:1/0?prefix=a`);
        assert.equal(shown, 'redis://***@host:1/0?prefix=a');
      }),
    );
  });

  it('leaves a directory alone', () => {
    assert.equal(withoutSecrets('/var/lib/a@b'), '/var/lib/a@b');
  });
});
