// Loads onnxruntime-node, which `npm run bench:peers` installs, and writes ONNX model files for it.
//
// The protobuf writer is our own, in four small functions at the end: none of our dependencies
// writes protobuf, and a library would also need the schema onnx.proto. Numbers below are field
// numbers and enum values of onnx.proto (ModelProto, GraphProto, NodeProto, TensorProto).

import { createRequire } from 'node:module';

/** The part of onnxruntime-node that is used. */
export interface OnnxRuntime {
  readonly env: { readonly versions: { readonly node?: string } };
  readonly InferenceSession: {
    create(model: Uint8Array, options: object): Promise<OnnxSession>;
  };
  readonly Tensor: new (
    type: 'float32' | 'int32',
    data: Float32Array | Int32Array,
    dimensions: readonly number[],
  ) => object;
}

export interface OnnxSession {
  run(feeds: Readonly<Record<string, object>>): Promise<Record<string, { data: Float32Array }>>;
}

export interface OnnxGraph {
  readonly nodes: readonly Buffer[];
  readonly initializers: readonly Buffer[];
  readonly inputs: readonly Buffer[];
  readonly output: Buffer;
}

/** Element types of tensors. */
export const FLOAT = 1;
export const INT32 = 6;
const INT64 = 7;
/** Attribute types. */
const FLOAT_ATTRIBUTE = 1;
const INTEGER_ATTRIBUTE = 2;
const INTEGERS_ATTRIBUTE = 7;
const IR_VERSION = 8;

/** @returns undefined when onnxruntime-node is not installed. */
export function loadOnnxRuntime(): OnnxRuntime | undefined {
  try {
    const require = createRequire(new URL('peers/package.json', import.meta.url));
    return require('onnxruntime-node') as OnnxRuntime;
  } catch {
    return undefined;
  }
}

export function onnxName({ env }: OnnxRuntime): string {
  return `onnxruntime-node ${env.versions.node ?? ''}`.trim();
}

/**
 * Encodes a model.
 *
 * @see https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
 */
export function onnxModel(name: string, graph: OnnxGraph, opset: number): Uint8Array {
  const fields = [
    ...graph.nodes.map((bytes) => field(1, bytes)),
    field(2, text(name)),
    ...graph.initializers.map((bytes) => field(5, bytes)),
    ...graph.inputs.map((bytes) => field(11, bytes)),
    field(12, graph.output),
  ];
  return Buffer.concat([
    integer(1, IR_VERSION),
    field(7, Buffer.concat(fields)),
    field(8, Buffer.concat([field(1, text('')), integer(2, opset)])),
  ]);
}

/** @param attributes - a number is an integer, `{ float }` is a float, a list holds integers. */
export function node(
  operator: string,
  inputs: readonly string[],
  outputs: string | readonly string[],
  attributes: Readonly<Record<string, number | { float: number } | readonly number[]>> = {},
): Buffer {
  const attribute = (name: string, value: (typeof attributes)[string]): Buffer => {
    if (typeof value === 'number')
      return Buffer.concat([
        field(1, text(name)),
        integer(3, value),
        integer(20, INTEGER_ATTRIBUTE),
      ]);
    if ('float' in value)
      return Buffer.concat([
        field(1, text(name)),
        float(2, value.float),
        integer(20, FLOAT_ATTRIBUTE),
      ]);
    const integers = value.map((item) => integer(8, item));
    return Buffer.concat([field(1, text(name)), ...integers, integer(20, INTEGERS_ATTRIBUTE)]);
  };
  return Buffer.concat([
    ...inputs.map((name) => field(1, text(name))),
    ...(typeof outputs === 'string' ? [outputs] : outputs).map((name) => field(2, text(name))),
    field(4, text(operator)),
    ...Object.entries(attributes).map(([name, value]) => field(5, attribute(name, value))),
  ]);
}

export function tensor(
  name: string,
  data: Float32Array | BigInt64Array,
  dimensions: readonly number[],
): Buffer {
  return Buffer.concat([
    ...dimensions.map((length) => integer(1, length)),
    integer(2, data instanceof Float32Array ? FLOAT : INT64),
    field(8, text(name)),
    field(9, Buffer.from(data.buffer, data.byteOffset, data.byteLength)),
  ]);
}

/** Encodes an input or output; a letter stands for a dimension of any length. */
export function value(name: string, type: number, shape: readonly (string | number)[]): Buffer {
  const dimensions = shape.map((length) =>
    field(1, typeof length === 'number' ? integer(1, length) : field(2, text(length))),
  );
  const tensorType = Buffer.concat([integer(1, type), field(2, Buffer.concat(dimensions))]);
  return Buffer.concat([field(1, text(name)), field(2, field(1, tensorType))]);
}

function text(value: string): Buffer {
  return Buffer.from(value, 'utf8');
}

/** Encodes a length-delimited field of protobuf (wire type 2). */
function field(number: number, bytes: Uint8Array): Buffer {
  return Buffer.concat([varint((number << 3) | 2), varint(bytes.length), bytes]);
}

/** Encodes a varint field of protobuf (wire type 0). */
function integer(number: number, value: number): Buffer {
  return Buffer.concat([varint(number << 3), varint(value)]);
}

/** Encodes a 32-bit float field of protobuf (wire type 5). */
function float(number: number, value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeFloatLE(value);
  return Buffer.concat([varint((number << 3) | 5), bytes]);
}

function varint(value: number): Buffer {
  const bytes: number[] = [];
  let rest = value;
  while (rest > 0x7f) {
    bytes.push((rest & 0x7f) | 0x80);
    rest = Math.floor(rest / 0x80);
  }
  bytes.push(rest);
  return Buffer.from(bytes);
}
