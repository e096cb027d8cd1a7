// Tensors of KServe v2 from and to JSON values and bytes. Bytes are little-endian, without padding.
// @see https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol

import { isUtf8 } from 'node:buffer';
import { INPUT_TYPES, type InputName, type InputTensor } from './kserve-schemas.ts';
import { invalid } from '../../request/parse-body.ts';

export const JSON_LENGTH_HEADER = 'Inference-Header-Content-Length';
/** Each element of a BYTES tensor starts with its length in so many bytes. */
const PREFIX_BYTES = 4;

/** The values of each input, one per row. */
export type Columns = ReadonlyMap<InputName, readonly (string | number)[]>;

/**
 * Reads the values of the inputs, and checks the inputs against each other and INPUT_TYPES.
 *
 * @param binary - the bytes after the JSON: the values of the binary inputs, in their order.
 * @returns inputs with the same number of rows, always including `user`.
 * @throws TandemError ERR_INVALID_REQUEST.
 */
export function readInputs(inputs: readonly InputTensor[], binary: Buffer): Columns {
  const columns = new Map<InputName, readonly (string | number)[]>();
  const rows = inputs[0]!.shape[0]!;
  let at = 0;
  for (const input of inputs) {
    const { name, datatype, data, shape } = input;
    const bytes = input.parameters?.binary_data_size;
    if (columns.has(name)) throw invalid(`Expected input ${name} once.`, 'inputs');
    if (datatype !== INPUT_TYPES[name])
      throw invalid(
        `Expected ${INPUT_TYPES[name]} for input ${name}, received ${datatype.slice(0, 64)}.`,
        'inputs',
      );
    if (shape[0] !== rows)
      throw invalid(
        `Expected shape [${rows}], that of input ${inputs[0]!.name}, for input ${name}, ` +
          `received [${shape.join()}].`,
        'inputs',
      );
    if ((bytes === undefined) === (data === undefined))
      throw invalid(
        `Expected either data or parameters.binary_data_size for input ${name}, ` +
          `received ${data === undefined ? 'neither' : 'both'}.`,
        'inputs',
      );
    if (data !== undefined) columns.set(name, fromJson(name, data, rows));
    else {
      const end = at + bytes!;
      if (end > binary.length)
        throw invalid(
          `Expected ${bytes} bytes of input ${name} after the JSON, received ` +
            `${binary.length - at}. The header ${JSON_LENGTH_HEADER} gives the length of the JSON.`,
          'inputs',
        );
      columns.set(name, fromBytes(name, binary.subarray(at, end), rows));
      at = end;
    }
  }
  if (at !== binary.length)
    throw invalid(
      `Expected ${at} bytes after the JSON, the sum of binary_data_size, ` +
        `received ${binary.length}.`,
      'inputs',
    );
  if (!columns.has('user')) throw invalid('Expected an input user, received none.', 'inputs');
  return columns;
}

/** Reads values from JSON. JSON has no NaN, so null stands for it. */
function fromJson(
  name: InputName,
  data: readonly unknown[],
  rows: number,
): readonly (string | number)[] {
  if (data.length !== rows)
    throw invalid(
      `Expected ${rows} values for input ${name}, as its shape says, received ${data.length}.`,
      'inputs',
    );
  return data.map((value, i) => {
    if (INPUT_TYPES[name] === 'BYTES' && typeof value === 'string') return value;
    if (INPUT_TYPES[name] === 'FP32' && typeof value === 'number') return Math.fround(value);
    if (INPUT_TYPES[name] === 'FP32' && value === null) return Number.NaN;
    const expected = INPUT_TYPES[name] === 'BYTES' ? 'a string' : 'a number or null';
    throw invalid(
      `Expected ${expected} for input ${name}, row ${i}, received ${shown(value)}.`,
      'inputs',
    );
  });
}

/**
 * Shows a value in a message. Arrays and objects appear by their kind only, because deeply nested
 * ones would overflow the stack in JSON.stringify().
 */
function shown(value: unknown): string {
  if (typeof value === 'object' && value !== null)
    return Array.isArray(value) ? 'an array' : 'an object';
  return JSON.stringify(value).slice(0, 64);
}

function fromBytes(name: InputName, bytes: Buffer, rows: number): readonly (string | number)[] {
  if (INPUT_TYPES[name] === 'FP32') {
    if (bytes.length !== rows * Float32Array.BYTES_PER_ELEMENT)
      throw invalid(
        `Expected ${rows} FP32 values of 4 bytes for input ${name}, ` +
          `received ${bytes.length} bytes.`,
        'inputs',
      );
    return Array.from({ length: rows }, (_, i) => bytes.readFloatLE(4 * i));
  }
  let at = 0;
  const take = (count: number): Buffer => {
    at += count;
    if (at > bytes.length)
      throw invalid(
        `Expected ${rows} values for input ${name}, each after its length in 4 bytes ` +
          `(little-endian), but its ${bytes.length} bytes end before that.`,
        'inputs',
      );
    return bytes.subarray(at - count, at);
  };
  const values = Array.from({ length: rows }, (_, i) => {
    const value = take(take(PREFIX_BYTES).readUInt32LE());
    if (!isUtf8(value)) throw invalid(`Expected UTF-8 for input ${name}, row ${i}.`, 'inputs');
    return value.toString('utf8');
  });
  if (at !== bytes.length)
    throw invalid(
      `Expected ${rows} values in ${at} bytes for input ${name}, received ${bytes.length} bytes.`,
      'inputs',
    );
  return values;
}

/** Returns the bytes of a BYTES tensor. */
export function prefixedBytes(values: readonly string[]): Uint8Array {
  return Buffer.concat(
    values.flatMap((value) => {
      const bytes = Buffer.from(value);
      const prefix = Buffer.alloc(PREFIX_BYTES);
      prefix.writeUInt32LE(bytes.length);
      return [prefix, bytes];
    }),
  );
}
