// The rows of a state as bytes: f32 as computed, bf16 in half of those bytes, or int8 with a scale
// per row in a quarter of them. docs/explanation/model.md says what the shorter types lose.

import type { StateType } from '../features/user-state.ts';

/**
 * How rows of one type are written and read. Bytes are little-endian, rows lie one after another.
 */
export interface RowCodec {
  /** Number that stands for the type in a record. */
  readonly code: number;
  /** Bytes of a row of `dimensions` values. */
  readonly rowBytes: (dimensions: number) => number;
  /** Writes `values` [L, D], which are finite, into `to` from byte `at`. */
  readonly write: (values: Float32Array, dimensions: number, to: Buffer, at: number) => void;
  /** Reads `out.length` values from `from`, from byte `at`. */
  readonly read: (from: Buffer, at: number, dimensions: number, out: Float32Array) => void;
}

const SCALE_BYTES = 4;
const INT8_MAX = 127;
/**
 * Just below the largest f32: a scale that was rounded up must not make the largest code infinite.
 */
const INT8_LARGEST = (2 - 2 ** -22) * 2 ** 127;

const bits = new Uint32Array(1);
const value = new Float32Array(bits.buffer);

/**
 * The upper half of an f32, rounded to nearest, ties to even. A value that would round to infinity
 * becomes the largest finite bf16.
 */
function toBf16(x: number): number {
  value[0] = x;
  const word = bits[0]!;
  const half = ((word + 0x7fff + ((word >>> 16) & 1)) >>> 16) & 0xffff;
  return (half & 0x7fff) === 0x7f80 ? half - 1 : half;
}

export const ROW_CODECS: Readonly<Record<StateType, RowCodec>> = {
  f32: {
    code: 0,
    rowBytes: (dimensions) => 4 * dimensions,
    write(values, _dimensions, to, at) {
      for (let i = 0; i < values.length; i++) to.writeFloatLE(values[i]!, at + 4 * i);
    },
    read(from, at, _dimensions, out) {
      for (let i = 0; i < out.length; i++) out[i] = from.readFloatLE(at + 4 * i);
    },
  },
  bf16: {
    code: 1,
    rowBytes: (dimensions) => 2 * dimensions,
    write(values, _dimensions, to, at) {
      for (let i = 0; i < values.length; i++) to.writeUInt16LE(toBf16(values[i]!), at + 2 * i);
    },
    read(from, at, _dimensions, out) {
      const words = new Uint32Array(out.buffer, out.byteOffset, out.length);
      for (let i = 0; i < words.length; i++) {
        const byte = at + 2 * i;
        words[i] = (from[byte]! << 16) | (from[byte + 1]! << 24);
      }
    },
  },
  int8: {
    code: 2,
    rowBytes: (dimensions) => SCALE_BYTES + dimensions,
    write(values, dimensions, to, at) {
      for (let row = 0, byte = at; row < values.length; row += dimensions) {
        let largest = 0;
        for (let i = row; i < row + dimensions; i++)
          largest = Math.max(largest, Math.abs(values[i]!));
        const scale = Math.fround(Math.min(largest, INT8_LARGEST) / INT8_MAX);
        byte = to.writeFloatLE(scale, byte);
        for (let i = row; i < row + dimensions; i++) {
          // The scale of a row of zeros is 0, which nothing can be divided by.
          const code = scale === 0 ? 0 : Math.round(values[i]! / scale);
          byte = to.writeInt8(Math.max(-INT8_MAX, Math.min(INT8_MAX, code)), byte);
        }
      }
    },
    read(from, at, dimensions, out) {
      for (let row = 0, byte = at; row < out.length; row += dimensions) {
        const scale = from.readFloatLE(byte);
        byte += SCALE_BYTES;
        for (let i = 0; i < dimensions; i++) out[row + i] = ((from[byte++]! << 24) >> 24) * scale;
      }
    },
  },
};

/** A copy of `state` [L, D] as a reader gets it after it was stored as `type`. */
export function storedAs(state: Float32Array, dimensions: number, type: StateType): Float32Array {
  const { rowBytes, write, read } = ROW_CODECS[type];
  const bytes = Buffer.alloc((state.length / dimensions) * rowBytes(dimensions));
  write(state, dimensions, bytes, 0);
  const out = new Float32Array(state.length);
  read(bytes, 0, dimensions, out);
  return out;
}
