// WebSocket frames for the fuzz row, as texts and as bytes on the wire.

import fc, { type Arbitrary } from 'fast-check';
import { bodyOf, scarred, type OpenApi } from './fuzz-values.ts';

/** Below maxFrameBytes also after invalid UTF-8 bytes have become three bytes each. */
const MAX_TEXT_BYTES = 20_000;
const MASK = [0x12, 0x34, 0x56, 0x78] as const;

/**
 * Texts of frames that fit the schemas, nearly fit, or do not fit; none is larger than a server
 * accepts.
 */
export function frameTexts(api: OpenApi): Arbitrary<Buffer> {
  return fc
    .oneof(
      { weight: 2, arbitrary: fc.constant(Buffer.from('{"type":"hello","user":"user-1"}')) },
      { weight: 2, arbitrary: bodyOf('HelloFrame', api) },
      { weight: 5, arbitrary: bodyOf('SubjectFrame', api) },
    )
    .map((text) => text.subarray(0, MAX_TEXT_BYTES));
}

/**
 * Frames as bytes on the wire (RFC 6455, section 5.2), whose bits, opcodes and lengths may be
 * wrong.
 */
export function wireFrames(api: OpenApi): Arbitrary<Buffer> {
  const right = frameTexts(api).map((payload) => wireFrame(0x81, payload));
  return fc.oneof(
    { weight: 3, arbitrary: right },
    { weight: 2, arbitrary: scarred(right) },
    fc
      .tuple(fc.nat({ max: 255 }), frameTexts(api), fc.boolean())
      .map(([first, payload, masked]) => wireFrame(first, payload, masked)),
    // A text in three fragments, with a ping between them.
    frameTexts(api).map((payload) =>
      Buffer.concat([
        wireFrame(0x01, payload.subarray(0, 5)),
        wireFrame(0x89, Buffer.from('ping')),
        wireFrame(0x00, payload.subarray(5, 9)),
        wireFrame(0x80, payload.subarray(9)),
      ]),
    ),
    fc
      .constantFrom(125, 126, 65_535, 65_536, 70_000)
      .chain((size) =>
        fc
          .constantFrom(0x81, 0x82, 0x88, 0x89)
          .map((first) => wireFrame(first, Buffer.alloc(size))),
      ),
    // Lengths without a payload: 2^63 - 1, and one with the forbidden first bit.
    fc
      .constantFrom('7f', 'ff')
      .map((high) => Buffer.from(`81ff${high}ffffffffffffff00000000`, 'hex')),
    fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes)),
  );
}

/** @param first - the byte with FIN, RSV and opcode. */
function wireFrame(first: number, payload: Buffer, masked: boolean = true): Buffer {
  const size = payload.length;
  const length =
    size < 126 ? [size] : size < 65_536 ? [126, size >> 8, size & 255] : [127, 0, 0, 0, 0];
  const head = Buffer.from([first, ...length]);
  const long =
    size < 65_536 ? [] : [size >>> 24, (size >> 16) & 255, (size >> 8) & 255, size & 255];
  if (!masked) return Buffer.concat([head, Buffer.from(long), payload]);
  head[1]! |= 0x80;
  return Buffer.concat([
    head,
    Buffer.from(long),
    Buffer.from(MASK),
    payload.map((byte, i) => byte ^ MASK[i & 3]!),
  ]);
}
