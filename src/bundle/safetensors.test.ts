import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { TandemError } from '../errors.ts';
import {
  decodeSafetensors,
  encodeSafetensors,
  expectTensor,
  type Tensor,
  type TensorData,
} from './safetensors.ts';

const arrays: ((length: number) => fc.Arbitrary<TensorData>)[] = [
  (length) => fc.float32Array({ minLength: length, maxLength: length }),
  (length) => fc.float64Array({ minLength: length, maxLength: length }),
  (length) => fc.int32Array({ minLength: length, maxLength: length }),
  (length) => fc.uint8Array({ minLength: length, maxLength: length }),
];

const tensor: fc.Arbitrary<Tensor> = fc
  .tuple(fc.array(fc.nat(4), { maxLength: 3 }), fc.constantFrom(...arrays))
  .chain(([shape, array]) =>
    array(shape.reduce((product, extent) => product * extent, 1)).map((data) => ({ shape, data })),
  );

const name = fc.string({ unit: 'grapheme' }).filter((text) => text !== '__metadata__');
const tensors = fc
  .array(fc.tuple(name, tensor), { maxLength: 5 })
  .map((entries) => new Map(entries));

describe('safetensors', () => {
  it('returns the tensors that were written, aligned, in any order', () => {
    fc.assert(
      fc.property(tensors, fc.dictionary(fc.string(), fc.string()), (written, metadata) => {
        const bytes = encodeSafetensors(written, metadata);
        const reversed = new Map([...written].reverse());
        assert.deepEqual(encodeSafetensors(reversed, metadata), bytes);
        const read = decodeSafetensors(bytes, 'test');
        assert.equal(read.tensors.size, written.size);
        assert.deepEqual(Object.entries(read.metadata).sort(), Object.entries(metadata).sort());
        for (const [key, { shape, data }] of written) {
          const found = read.tensors.get(key)!;
          assert.deepEqual(found.shape, shape);
          assert.deepEqual(found.data, data);
          if (data.length > 0) assert.equal(found.data.buffer, bytes.buffer, 'a view, not a copy');
        }
      }),
    );
  });

  it('reads a file that lies misaligned in a larger buffer', () => {
    const data = Float64Array.of(1, 2, 3);
    const bytes = encodeSafetensors(new Map([['x', { shape: [3], data }]]));
    const shifted = new Uint8Array(bytes.length + 1);
    shifted.set(bytes, 1);
    const read = decodeSafetensors(shifted.subarray(1), 'test');
    assert.deepEqual(read.tensors.get('x')?.data, data);
  });

  it('reads damaged bytes or throws ERR_BUNDLE_INVALID; truncated bytes always throw', () => {
    const sample = encodeSafetensors(
      new Map<string, Tensor>([
        ['a', { shape: [2, 3], data: new Float32Array(6) }],
        ['b', { shape: [5], data: new Uint8Array(5) }],
      ]),
      { format: 'test' },
    );
    const isOurs = (error: unknown): boolean =>
      error instanceof TandemError && error.code === 'ERR_BUNDLE_INVALID';
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(sample.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 }),
        (edits) => {
          const damaged = sample.slice();
          for (const [position, value] of edits) damaged[position] = value;
          try {
            decodeSafetensors(damaged, 'test');
          } catch (error) {
            assert.ok(isOurs(error), String(error));
          }
        },
      ),
      { numRuns: 2000 },
    );
    for (let length = 0; length < sample.length; length++)
      assert.throws(() => decodeSafetensors(sample.subarray(0, length), 'test'), isOurs);
  });

  for (const [what, header, dataBytes] of [
    ['a gap between tensors', '{"x":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}', 2],
    [
      'overlapping tensors',
      '{"x":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},' +
        '"y":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}',
      3,
    ],
    ['bytes of no tensor', '{"x":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', 2],
    ['offsets past the end', '{"x":{"dtype":"U8","shape":[9],"data_offsets":[0,9]}}', 8],
    ['a size that is not the shape', '{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,8]}}', 8],
    [
      'a shape whose product overflows',
      '{"x":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,8]}}',
      8,
    ],
    ['a negative extent', '{"x":{"dtype":"U8","shape":[-1],"data_offsets":[0,1]}}', 1],
    ['an unknown type', '{"x":{"dtype":"BF16","shape":[1],"data_offsets":[0,2]}}', 2],
    ['a type named like a method', '{"x":{"dtype":"toString","shape":[],"data_offsets":[0,0]}}', 0],
    ['a header that is not an object', '[]', 0],
    ['a header that is not JSON', '{"x":', 0],
    ['metadata that is not of strings', '{"__metadata__":{"a":1}}', 0],
  ] as const)
    it(`refuses ${what}`, () => {
      const json = Buffer.from(header);
      const bytes = new Uint8Array(8 + json.length + dataBytes);
      bytes[0] = json.length;
      bytes.set(json, 8);
      assert.throws(() => decodeSafetensors(bytes, 'weights.safetensors'), {
        code: 'ERR_BUNDLE_INVALID',
        message: /weights\.safetensors/,
      });
    });

  it('names tensor, type and shape when an expected tensor is missing', () => {
    const read = new Map<string, Tensor>([['x', { shape: [2], data: new Float32Array(2) }]]);
    assert.equal(expectTensor(read, 'x', Float32Array, [null], 'f').length, 2);
    assert.throws(
      () => expectTensor(read, 'x', Float32Array, [3], 'f'),
      /F32 tensor "x".*\[3\].*\[2\]/,
    );
    assert.throws(() => expectTensor(read, 'x', Int32Array, [2], 'f'), /I32 tensor "x".*F32/);
    assert.throws(() => expectTensor(read, 'y', Int32Array, [2], 'f'), /there is none/);
  });

  it('refuses to write data that does not fill its shape', () => {
    const wrong = new Map([['x', { shape: [3], data: new Float32Array(2) }]]);
    assert.throws(() => encodeSafetensors(wrong), RangeError);
  });
});
