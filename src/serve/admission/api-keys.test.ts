// Which keys are accepted, and how a running server reacts to a key file that is changed, broken or
// removed.

import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import fc from 'fast-check';
import { TandemError, type ErrorCode } from '../../errors.ts';
import { ApiKeys } from './api-keys.ts';
import { ROLES, newKey, readKeyFile, writeKeyFile, type KeyRecord } from './key-file.ts';

const folder = mkdtempSync(join(tmpdir(), 'tandem-keys-'));
const path = join(folder, 'keys.json');
after(() => {
  rmSync(folder, { recursive: true });
});

function code(expected: ErrorCode): (error: unknown) => boolean {
  return (error) => error instanceof TandemError && error.code === expected;
}

function make(...names: readonly string[]): { keys: string[]; records: KeyRecord[] } {
  const made = names.map((name) => newKey({ name, role: 'candidates' }));
  return { keys: made.map(({ key }) => key), records: made.map((one) => one.record) };
}

test('a key allows what its role allows, and admin allows everything', () => {
  const made = ROLES.map((role) => newKey({ name: role, role }));
  writeKeyFile(
    path,
    made.map(({ record }) => record),
  );
  const keys = new ApiKeys(path);
  for (const { key, record } of made)
    for (const role of ROLES) {
      const client = keys.authenticate(`Bearer ${key}`);
      if (record.role === role || record.role === 'admin') client.require(role);
      else
        assert.throws(() => {
          client.require(role);
        }, code('ERR_FORBIDDEN'));
    }
});

test('only a whole key is accepted, and no message repeats a key', () => {
  const { keys: given, records } = make('web');
  const [key] = given as [string];
  writeKeyFile(path, records);
  const keys = new ApiKeys(path);
  keys.authenticate(`Bearer ${key}`);
  keys.authenticate(`bearer  ${key}`);
  const index = fc.nat(key.length - 1);
  const near = fc.oneof(
    index.map((i) => key.slice(0, i)),
    fc.tuple(index, fc.constantFrom('A', 'b', '0', '_', '-')).map(([i, letter]) => {
      return key.slice(0, i) + letter + key.slice(i + 1);
    }),
    fc.constantFrom(records[0]!.sha256, records[0]!.id, `${key}A`, ` ${key}`, `${key},${key}`),
    fc.string(),
  );
  fc.assert(
    fc.property(near, fc.constantFrom('Bearer ', 'Basic ', 'Bearer', ''), (text, scheme) => {
      fc.pre(!new RegExp(`^Bearer +${key}$`).test(scheme + text));
      assert.throws(
        () => keys.authenticate(scheme + text),
        (error) =>
          code('ERR_UNAUTHENTICATED')(error) &&
          (text.length < 8 || !(error as Error).message.includes(text)),
      );
    }),
    { numRuns: 1000 },
  );
});

test('the file holds digests and no keys', () => {
  const { keys, records } = make('a', 'b');
  writeKeyFile(path, records);
  const text = readFileSync(path, 'utf8');
  for (const key of keys) assert.ok(!text.includes(key.slice(-43)));
  assert.deepEqual(
    readKeyFile(path).map(({ name }) => name),
    ['a', 'b'],
  );
  assert.notEqual(keys[0], keys[1]);
});

test('a reload adds, changes and revokes keys, also for connected clients', () => {
  const { keys: given, records } = make('stays', 'goes');
  const comes = newKey({ name: 'comes', role: 'metrics' });
  writeKeyFile(path, records);
  const keys = new ApiKeys(path);
  const stays = keys.authenticate(`Bearer ${given[0]}`);
  const goes = keys.authenticate(`Bearer ${given[1]}`);
  assert.throws(() => keys.authenticate(`Bearer ${comes.key}`), code('ERR_UNAUTHENTICATED'));
  writeKeyFile(path, [{ ...records[0]!, requestsPerSecond: 1, burst: 2 }, comes.record]);
  keys.reload();
  keys.authenticate(`Bearer ${comes.key}`).require('metrics');
  stays.require('candidates');
  stays.spend(2);
  assert.ok(stays.waitSeconds(1) > 0);
  assert.throws(() => {
    goes.require('candidates');
  }, code('ERR_UNAUTHENTICATED'));
  assert.throws(() => keys.authenticate(`Bearer ${given[1]}`), code('ERR_UNAUTHENTICATED'));
  // The same id with another digest is another key, and the old one is revoked.
  writeKeyFile(path, [{ ...records[0]!, sha256: comes.record.sha256 }]);
  keys.reload();
  assert.throws(() => {
    stays.require('candidates');
  }, code('ERR_UNAUTHENTICATED'));
});

test('a reload keeps the tokens that a client has spent', () => {
  const limited = newKey({ name: 'web', role: 'candidates', requestsPerSecond: 0.01, burst: 2 });
  writeKeyFile(path, [limited.record]);
  const keys = new ApiKeys(path);
  keys.authenticate(`Bearer ${limited.key}`).spend(2);
  keys.reload();
  assert.ok(keys.authenticate(`Bearer ${limited.key}`).waitSeconds(1) > 0);
});

test('an invalid file stops a start but not a running server', () => {
  const { keys: given, records } = make('web');
  writeKeyFile(path, records);
  const keys = new ApiKeys(path);
  const [record] = records as [KeyRecord];
  for (const text of [
    '',
    '{"keys":[',
    '[]',
    JSON.stringify({ keys: [{ ...record, role: 'root' }] }),
    JSON.stringify({ keys: [{ ...record, sha256: 'x' }] }),
    JSON.stringify({ keys: [{ ...record, rps: 1 }] }),
    JSON.stringify({ keys: [record, { ...record, id: '0'.repeat(12) }] }),
    JSON.stringify({ keys: [record, { ...record, name: 'other' }] }),
  ]) {
    writeFileSync(path, text);
    assert.throws(() => new ApiKeys(path), code('ERR_CONFIG_INVALID'), text);
    keys.reload();
    keys.authenticate(`Bearer ${given[0]}`).require('candidates');
  }
  rmSync(path);
  assert.throws(() => new ApiKeys(path), code('ERR_CONFIG_INVALID'));
  keys.reload();
  keys.authenticate(`Bearer ${given[0]}`).require('candidates');
});

test('without a file every client has all rights and no rate', () => {
  const keys = new ApiKeys(undefined);
  assert.ok(keys.isOpen);
  const client = keys.authenticate('');
  for (const role of ROLES) client.require(role);
  client.spend(1e9);
  assert.equal(client.waitSeconds(1), 0);
});
