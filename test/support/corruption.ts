// Makes damaged copies of a file, as bad memory, bad disks and broken transfers do. Number n of a
// seed is always the same damage, so a failure can be repeated.

import { Random } from '../../src/random.ts';

/** A little-endian integer in the header of a format. */
export interface HeaderField {
  readonly offset: number;
  readonly bytes: 1 | 2 | 4 | 8;
}

export type DamageKind =
  | 'bit flips'
  | 'byte writes'
  | 'truncation'
  | 'extension'
  | 'chunk from elsewhere'
  | 'chunk lost'
  | 'header integer';

export interface Damage {
  readonly kind: DamageKind;
  readonly bytes: Uint8Array;
}

type Make = (valid: Uint8Array, random: Random, fields: readonly HeaderField[]) => Uint8Array;

const MAX_FLIPS = 8;
const MAX_WRITES = 16;
const MAX_CHUNK = 512;

const KINDS: Readonly<Record<DamageKind, Make>> = {
  'bit flips': (valid, random) => {
    const bytes = valid.slice();
    for (let i = random.integer(MAX_FLIPS); i >= 0; i--)
      bytes[random.integer(bytes.length)]! ^= 1 << random.integer(8);
    return bytes;
  },
  'byte writes': (valid, random) => {
    const bytes = valid.slice();
    for (let i = random.integer(MAX_WRITES); i >= 0; i--)
      bytes[random.integer(bytes.length)] = random.integer(256);
    return bytes;
  },
  truncation: (valid, random) => valid.slice(0, random.integer(valid.length)),
  extension: (valid, random) => {
    const bytes = new Uint8Array(valid.length + 1 + random.integer(MAX_CHUNK));
    bytes.set(valid);
    if (random.integer(2) === 0)
      for (let i = valid.length; i < bytes.length; i++) bytes[i] = random.integer(256);
    return bytes;
  },
  'chunk from elsewhere': (valid, random) => {
    const length = 1 + random.integer(Math.min(MAX_CHUNK, valid.length));
    const from = random.integer(valid.length - length + 1);
    const bytes = valid.slice();
    bytes.set(valid.subarray(from, from + length), random.integer(valid.length - length + 1));
    return bytes;
  },
  'chunk lost': (valid, random) => {
    const length = 1 + random.integer(Math.min(MAX_CHUNK, valid.length));
    const at = random.integer(valid.length - length + 1);
    const bytes = new Uint8Array(valid.length - length);
    bytes.set(valid.subarray(0, at));
    bytes.set(valid.subarray(at + length), at);
    return bytes;
  },
  'header integer': (valid, random, fields) => {
    const bytes = valid.slice();
    const { offset, bytes: width } = fields[random.integer(fields.length)]!;
    const view = new DataView(bytes.buffer, bytes.byteOffset + offset, width);
    const bits = BigInt(8 * width);
    const top = 1n << bits;
    const old = width === 8 ? view.getBigUint64(0, true) : BigInt(readSmall(view, width));
    const extremes = [0n, 1n, top - 1n, top >> 1n, (top >> 1n) - 1n, old + 1n, old - 1n, old * 2n];
    const value = BigInt.asUintN(8 * width, extremes[random.integer(extremes.length)]!);
    for (let i = 0; i < width; i++) view.setUint8(i, Number((value >> BigInt(8 * i)) & 0xffn));
    return bytes;
  },
};

/** Damage that changes the length. Every format must detect all of it. */
export const RESIZING: readonly DamageKind[] = ['truncation', 'extension', 'chunk lost'];

/** Makes damage number n. The kinds alternate; the bytes always differ from the valid ones. */
export function damage(
  valid: Uint8Array,
  fields: readonly HeaderField[],
  seed: number,
  n: number,
): Damage {
  const random = new Random(seed, n);
  const names = Object.keys(KINDS) as DamageKind[];
  const kind = names[n % names.length]!;
  for (;;) {
    const bytes = KINDS[kind](valid, random, fields);
    if (Buffer.compare(bytes, valid) !== 0) return { kind, bytes };
  }
}

function readSmall(view: DataView, width: number): number {
  if (width === 1) return view.getUint8(0);
  return width === 2 ? view.getUint16(0, true) : view.getUint32(0, true);
}
