// The safetensors format: a JSON header, then named tensors. Other files decide what the tensors
// mean. @see https://github.com/huggingface/safetensors#format

import { endianness } from 'node:os';
import { TandemError } from '../errors.ts';

export type TensorData = Float32Array | Float64Array | Int32Array | Uint8Array;

export interface Tensor {
  /** Row-major; [] is a scalar. */
  readonly shape: readonly number[];
  readonly data: TensorData;
}

export interface TensorFile {
  readonly tensors: Map<string, Tensor>;
  readonly metadata: Readonly<Record<string, string>>;
}

type Dtype = 'F64' | 'F32' | 'I32' | 'U8';

const ITEM_BYTES: Readonly<Record<Dtype, number>> = { F64: 8, F32: 4, I32: 4, U8: 1 };
/** The limit of the reference implementation. */
const MAX_HEADER_BYTES = 100_000_000;
const MAX_RANK = 8;

/**
 * Encodes tensors as the bytes of one file. The same tensors give the same bytes in any order.
 *
 * The header is padded to 8 bytes, and tensors are sorted by width of their type, widest first,
 * then by name. So every tensor is aligned without gaps.
 *
 * @throws RangeError when the length of a tensor's data is not the product of its shape.
 */
export function encodeSafetensors(
  tensors: ReadonlyMap<string, Tensor>,
  metadata: Readonly<Record<string, string>> = {},
): Uint8Array {
  const entries = [...tensors]
    .map(([name, tensor]) => ({ name, tensor, dtype: dtypeOf(tensor.data) }))
    .sort((a, b) => ITEM_BYTES[b.dtype] - ITEM_BYTES[a.dtype] || (a.name < b.name ? -1 : 1));
  const header: [string, unknown][] = [];
  const metadataEntries = Object.entries(metadata).sort(([a], [b]) => (a < b ? -1 : 1));
  if (metadataEntries.length > 0)
    header.push(['__metadata__', Object.fromEntries(metadataEntries)]);
  let end = 0;
  for (const { name, tensor, dtype } of entries) {
    const { shape, data } = tensor;
    if (data.length !== shape.reduce((product, extent) => product * extent, 1))
      throw new RangeError(
        `Expected the data of tensor "${name}" to fill its shape [${shape.join(', ')}], ` +
          `received ${data.length} values.`,
      );
    const begin = end;
    end += data.byteLength;
    header.push([name, { dtype, shape, data_offsets: [begin, end] }]);
  }
  const json = Buffer.from(JSON.stringify(Object.fromEntries(header)));
  const headerBytes = Math.ceil(json.length / 8) * 8;
  const bytes = new Uint8Array(8 + headerBytes + end);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(headerBytes), true);
  bytes.fill(0x20, 8, 8 + headerBytes);
  bytes.set(json, 8);
  let offset = 8 + headerBytes;
  for (const { tensor } of entries) {
    bytes.set(littleEndianBytes(tensor.data), offset);
    offset += tensor.data.byteLength;
  }
  return bytes;
}

/**
 * Decodes a file. Its tensors are views of `bytes`, or copies where they are not aligned.
 *
 * @param file - name of the file, for messages.
 * @throws TandemError ERR_BUNDLE_INVALID unless the bytes are a complete safetensors file of known
 *   types, without gaps.
 */
export function decodeSafetensors(bytes: Uint8Array, file: string): TensorFile {
  const fail = (expected: string): never => {
    throw new TandemError(
      'ERR_BUNDLE_INVALID',
      `Expected ${expected} in ${file} (safetensors, ${bytes.length} bytes). ` +
        'The file is damaged or not safetensors: write it again.',
      { details: { file } },
    );
  };
  if (bytes.length < 8) return fail('a header of at least 8 bytes');
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const headerBytes = Number(view.getBigUint64(0, true));
  const available = Math.min(MAX_HEADER_BYTES, bytes.length - 8);
  if (headerBytes > available)
    return fail(`a header length of at most ${available}, received ${headerBytes},`);

  const header = parseObject(bytes.subarray(8, 8 + headerBytes));
  if (header === undefined) return fail('a JSON object as header');
  const data = bytes.subarray(8 + headerBytes);
  const tensors = new Map<string, Tensor>();
  const ranges: { name: string; begin: number; end: number }[] = [];
  let metadata: Record<string, string> = {};
  for (const [name, value] of Object.entries(header)) {
    if (name === '__metadata__') {
      metadata = asMetadata(value) ?? fail('strings as __metadata__');
      continue;
    }
    const { dtype, shape, begin, end } =
      asEntry(value) ?? fail(`dtype (F64, F32, I32, U8), shape and data_offsets of "${name}"`);
    const length = shape.reduce((product, extent) => product * extent, 1);
    const size = length * ITEM_BYTES[dtype];
    if (!Number.isSafeInteger(size) || end > data.length || end - begin !== size)
      return fail(
        `"${name}" of shape [${shape.join(', ')}] to have ${size} of the ${data.length} ` +
          `data bytes, received offsets [${begin}, ${end}],`,
      );
    ranges.push({ name, begin, end });
    tensors.set(name, { shape, data: viewOf(dtype, data, begin, length) });
  }
  ranges.sort((a, b) => a.begin - b.begin || a.end - b.end);
  let covered = 0;
  for (const { name, begin, end } of ranges) {
    if (begin !== covered) return fail(`"${name}" to begin at ${covered}, received ${begin},`);
    covered = end;
  }
  if (covered !== data.length) return fail(`${covered} data bytes, received ${data.length},`);
  return { tensors, metadata };
}

/**
 * Gets the data of a tensor of known type and shape.
 *
 * @param shape - null stands for any extent.
 * @throws TandemError ERR_BUNDLE_INVALID when the tensor is missing or of another type or shape.
 */
export function expectTensor<T extends TensorData>(
  tensors: ReadonlyMap<string, Tensor>,
  name: string,
  type: abstract new (...args: never[]) => T,
  shape: readonly (number | null)[],
  file: string,
): T {
  const tensor = tensors.get(name);
  const extents = shape.map((extent) => extent ?? '*').join(', ');
  const wanted = `${dtypeOfName(type.name)} tensor "${name}" of shape [${extents}]`;
  const remedy = 'The bundle does not fit its manifest: publish it again from one checkpoint.';
  const options = { details: { file, tensor: name } };
  if (tensor === undefined)
    throw new TandemError(
      'ERR_BUNDLE_INVALID',
      `Expected ${wanted} in ${file}, but there is none. ${remedy}`,
      options,
    );
  const { data } = tensor;
  const fits =
    tensor.shape.length === shape.length &&
    shape.every((extent, axis) => extent === null || extent === tensor.shape[axis]);
  if (!fits || !(data instanceof type))
    throw new TandemError(
      'ERR_BUNDLE_INVALID',
      `Expected ${wanted} in ${file}, received ${dtypeOf(data)} of shape ` +
        `[${tensor.shape.join(', ')}]. ${remedy}`,
      options,
    );
  return data;
}

/**
 * Typed data as little-endian bytes, as in every file of a bundle: a view on a little-endian
 * machine.
 */
export function littleEndianBytes(data: TensorData): Uint8Array {
  const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  if (endianness() === 'LE') return bytes;
  return swapped(bytes, data.BYTES_PER_ELEMENT);
}

function viewOf(dtype: Dtype, data: Uint8Array, begin: number, length: number): TensorData {
  const itemBytes = ITEM_BYTES[dtype];
  let bytes = data.subarray(begin, begin + length * itemBytes);
  if (endianness() === 'BE') bytes = swapped(bytes, itemBytes);
  else if (bytes.byteOffset % itemBytes !== 0) bytes = bytes.slice();
  const { buffer, byteOffset } = bytes;
  if (dtype === 'F64') return new Float64Array(buffer, byteOffset, length);
  if (dtype === 'F32') return new Float32Array(buffer, byteOffset, length);
  if (dtype === 'I32') return new Int32Array(buffer, byteOffset, length);
  return new Uint8Array(buffer, byteOffset, length);
}

function swapped(bytes: Uint8Array, itemBytes: number): Uint8Array {
  const copy = new Uint8Array(bytes);
  for (let item = 0; item < copy.length; item += itemBytes)
    copy.subarray(item, item + itemBytes).reverse();
  return copy;
}

function dtypeOf(data: TensorData): Dtype {
  return dtypeOfName(data.constructor.name);
}

function dtypeOfName(arrayName: string): Dtype {
  if (arrayName === 'Float64Array') return 'F64';
  if (arrayName === 'Float32Array') return 'F32';
  if (arrayName === 'Int32Array') return 'I32';
  return 'U8';
}

function parseObject(bytes: Uint8Array): object | undefined {
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
    const value: unknown = JSON.parse(text);
    return value !== null && typeof value === 'object' && !Array.isArray(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

function asMetadata(value: unknown): Record<string, string> | undefined {
  if (value === null || typeof value !== 'object' || Array.isArray(value)) return undefined;
  const strings = Object.values(value).every((member) => typeof member === 'string');
  return strings ? (value as Record<string, string>) : undefined;
}

interface Entry {
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  readonly begin: number;
  readonly end: number;
}

function asEntry(value: unknown): Entry | undefined {
  if (value === null || typeof value !== 'object') return undefined;
  const { dtype, shape, data_offsets: offsets } = value as Record<string, unknown>;
  if (typeof dtype !== 'string' || !Object.hasOwn(ITEM_BYTES, dtype)) return undefined;
  if (!isExtents(shape) || shape.length > MAX_RANK) return undefined;
  if (!isExtents(offsets) || offsets.length !== 2) return undefined;
  return { dtype: dtype as Dtype, shape, begin: offsets[0]!, end: offsets[1]! };
}

function isExtents(value: unknown): value is number[] {
  return (
    Array.isArray(value) &&
    value.every((extent) => Number.isSafeInteger(extent) && (extent as number) >= 0)
  );
}
