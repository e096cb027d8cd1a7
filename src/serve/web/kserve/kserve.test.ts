// Tensors as a client writes them: JSON and bytes give the same rows, and wrong bytes are refused.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { TandemError } from '../../../errors.ts';
import { readId } from '../../../ids.ts';
import { encodeInference, parseInference } from './kserve.ts';
import { prefixedBytes } from './kserve-tensors.ts';
import { copyHeaders, type CopiedHeaders } from '../transport.ts';

interface Row {
  readonly user: string;
  readonly item: string;
  readonly query: string;
  readonly age: number;
  readonly country: string;
}

const TEXTS = ['user', 'item', 'query', 'country'] as const;
/** Ids in the form in which they are kept; src/ids.test.ts is about other forms. */
const text = fc
  .string({ unit: 'grapheme', minLength: 1, maxLength: 20 })
  .filter((value) => readId(value) === value);
const rows: fc.Arbitrary<Row[]> = fc.array(
  fc.record({
    user: text,
    item: fc.constantFrom('', 'i-1'),
    query: fc.constant(''),
    age: fc.oneof(fc.constant(Number.NaN), fc.float({ min: 0, max: 150, noNaN: true })),
    country: fc.oneof(fc.constant(''), text),
  }),
  { minLength: 1, maxLength: 8 },
);

function parse(json: object, binary?: Uint8Array): ReturnType<typeof parseInference> {
  const head = Buffer.from(JSON.stringify(json));
  return parseInference({
    headers: headersWith(binary === undefined ? '' : String(head.length)),
    body: Buffer.concat([head, binary ?? Buffer.alloc(0)]),
  });
}

function headersWith(jsonLength: string): CopiedHeaders {
  return copyHeaders((name) => (name === 'inference-header-content-length' ? jsonLength : ''));
}

function jsonInputs(given: readonly Row[]): object[] {
  const shape = [given.length];
  return [
    ...TEXTS.map((name) => {
      return { name, shape, datatype: 'BYTES', data: given.map((row) => row[name]) };
    }),
    { name: 'age', shape, datatype: 'FP32', data: given.map(({ age }) => age) },
  ];
}

function binaryInputs(given: readonly Row[]): { inputs: object[]; bytes: Buffer } {
  const chunks = TEXTS.map((name) => prefixedBytes(given.map((row) => row[name])));
  const ages = Buffer.alloc(4 * given.length);
  for (const [i, { age }] of given.entries()) ages.writeFloatLE(age, 4 * i);
  chunks.push(ages);
  const inputs = [...TEXTS, 'age'].map((name, i) => ({
    name,
    shape: [given.length],
    datatype: name === 'age' ? 'FP32' : 'BYTES',
    parameters: { binary_data_size: chunks[i]!.byteLength },
  }));
  return { inputs, bytes: Buffer.concat(chunks) };
}

function refused(message: RegExp): (error: unknown) => boolean {
  return (error) =>
    error instanceof TandemError &&
    error.code === 'ERR_INVALID_REQUEST' &&
    message.test(error.message);
}

test('JSON and bytes give the rows that were written', () => {
  fc.assert(
    fc.property(rows, (given) => {
      const { inputs, bytes } = binaryInputs(given);
      const fromBytes = parse({ inputs }, bytes);
      assert.deepEqual(fromBytes.rows, parse({ inputs: jsonInputs(given) }).rows);
      for (const [i, { user, item, age }] of given.entries()) {
        const row = fromBytes.rows[i]!;
        assert.equal(row.user, user);
        assert.equal(row.subject?.item ?? '', item);
        assert.deepEqual(row.demographics?.age, Number.isNaN(age) ? undefined : age);
      }
    }),
  );
});

test('too few and too many bytes are refused', () => {
  fc.assert(
    fc.property(rows, fc.nat(), (given, cut) => {
      const { inputs, bytes } = binaryInputs(given);
      const part = bytes.subarray(0, cut % bytes.length);
      assert.throws(() => parse({ inputs }, part), refused(/^Expected/));
      const more = Buffer.concat([bytes, Buffer.alloc(1)]);
      assert.throws(() => parse({ inputs }, more), refused(/^Expected/));
    }),
  );
});

test('any bytes give rows or a clear error', () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 40 }),
      fc.integer({ min: 1, max: 3 }),
      (bytes, count) => {
        const parameters = { binary_data_size: bytes.length };
        const user = { name: 'user', shape: [count], datatype: 'BYTES', parameters };
        try {
          assert.equal(parse({ inputs: [user] }, bytes).rows.length, count);
        } catch (error) {
          assert.ok(refused(/Expected/)(error), String(error));
        }
      },
    ),
  );
});

test('an error says what is wrong', () => {
  const user = { name: 'user', shape: [2], datatype: 'BYTES', data: ['a', 'b'] };
  const both = { item: ['', 'i'], query: ['', 'q'] };
  const cases: readonly (readonly [object, RegExp])[] = [
    [{ inputs: [] }, /at least 1 entry for inputs/],
    [{ inputs: [{ ...user, name: 'users' }] }, /Expected one of "user".* for inputs.0.name/],
    [{ inputs: [{ ...user, shape: [2, 1] }] }, /at most 1 entry for inputs.0.shape/],
    [{ inputs: [{ ...user, shape: [1025] }] }, /at most 1024 for inputs.0.shape.0/],
    [{ inputs: [{ ...user, shape: [3] }] }, /3 values for input user.*received 2/],
    [{ inputs: [{ ...user, datatype: 'FP32' }] }, /Expected BYTES for input user, received FP32/],
    [{ inputs: [{ ...user, data: ['a', 7] }] }, /a string for input user, row 1, received 7/],
    [{ inputs: [{ ...user, data: ['a', ''] }] }, /^Row 1: Expected at least 1 character for user/],
    [{ inputs: [{ ...user, data: undefined }] }, /either data or .*received neither/],
    [{ inputs: [{ ...user, parameters: { binary_data_size: 0 } }] }, /received both/],
    [{ inputs: [user, user] }, /input user once/],
    [{ inputs: [user, { ...user, name: 'item', shape: [1], data: ['a'] }] }, /shape \[2\].*\[1\]/],
    [{ inputs: [{ ...user, name: 'item' }] }, /an input user, received none/],
    [
      { inputs: [user, ...Object.entries(both).map(([name, data]) => ({ ...user, name, data }))] },
      /^Row 1: Expected item or query to be empty/,
    ],
    [
      { inputs: [user, { name: 'age', shape: [2], datatype: 'FP32', data: [1, 151] }] },
      /^Row 1: Expected at most 150 for demographics.age/,
    ],
    [{ inputs: [user], outputs: [{ name: 'embeddings' }] }, /"embedding".* for outputs.0.name/],
    [{ inputs: [user], outputs: [{ name: 'embedding' }, { name: 'embedding' }] }, /output once/],
    [{ inputs: [user], parameters: { timeout: 5 } }, /only known fields, received "timeout"/],
  ];
  for (const [body, message] of cases) assert.throws(() => parse(body), refused(message));
});

test('nested arrays that would overflow the stack are refused', () => {
  const nested = '['.repeat(50_000) + ']'.repeat(50_000);
  const body = Buffer.from(
    `{"inputs":[{"name":"user","shape":[1],"datatype":"BYTES","data":[${nested}]}]}`,
  );
  assert.throws(
    () => parseInference({ headers: copyHeaders(() => ''), body }),
    refused(/a string for input user, row 0, received an array/),
  );
});

test('an invalid length of the JSON is refused', () => {
  for (const length of ['-1', '1e1', '999', ' 2', '0x2'])
    assert.throws(
      () =>
        parseInference({
          headers: headersWith(length),
          body: Buffer.from('{}'),
        }),
      refused(/Inference-Header-Content-Length/),
    );
});

test('rows of two widths cannot form a tensor', () => {
  const outputs = [{ name: 'embedding', binary: false }] as const;
  const rowOf = (width: number) => ({ bundleId: 'b', embedding: new Float32Array(width) });
  assert.equal(encodeInference({ id: undefined, outputs }, [rowOf(2), rowOf(2)]).status, 200);
  assert.throws(
    () => encodeInference({ id: undefined, outputs }, [rowOf(2), rowOf(3)]),
    refused(/one width, received rows of 2 and 3/),
  );
});
