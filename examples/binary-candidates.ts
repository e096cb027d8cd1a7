// Asks a server for candidates in application/x-tandem and prints them as JSON. The layout of the
// bytes is in docs/reference/binary-protocol.md.
// Usage: npx tsx examples/binary-candidates.ts http://127.0.0.1:8080 USER ITEM

export interface Answer {
  readonly request_id: string;
  readonly bundle_id: string;
  readonly state: {
    readonly status: 'missing' | 'fresh' | 'stale' | 'version_mismatch';
    readonly age_seconds: number | null;
  };
  readonly degraded: { readonly mode: string; readonly reason: string } | null;
  readonly plan: string;
  readonly truncated: boolean;
  readonly ignored: readonly string[];
  readonly candidates: readonly { readonly item: string; readonly score: number }[];
}

/** The answer that a delta of a WebSocket session refers to, and the id of its subject. */
export interface Base {
  readonly id: string | number;
  readonly answer: Answer;
}

const NEW_ITEM = 0xffff;

/**
 * Reads an answer, or a delta of a WebSocket session.
 *
 * @param bytes - the body of an HTTP answer, or the body of a binary frame.
 * @param base - the answer before, which a delta refers to; only needed in sessions with deltas.
 * @returns the whole answer.
 * @throws RangeError when the bytes are not a whole answer of version 1, or are a delta that refers
 *   to another answer than `base`.
 */
export function readAnswer(bytes: Uint8Array, base?: Base): Answer {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const decoder = new TextDecoder();
  const magic = decoder.decode(bytes.subarray(0, 4));
  const isDelta = magic === 'TNDD';
  if ((magic !== 'TNDM' && !isDelta) || view.getUint16(4, true) !== 1)
    throw new RangeError('Expected an application/x-tandem body of version 1.');
  const count = view.getUint32(8, true);
  const positionsAt = 24 + 4 * count;
  const positions = Array.from({ length: count }, (_, i) =>
    isDelta ? view.getUint16(positionsAt + 2 * i, true) : NEW_ITEM,
  );
  const spelledOut = positions.filter((position) => position === NEW_ITEM).length;
  const ends = positionsAt + (isDelta ? 2 * count : 0);
  const text = ends + 4 * (6 + spelledOut);
  if (text + view.getUint32(12, true) !== bytes.byteLength)
    throw new RangeError(`Expected a whole body, received ${bytes.byteLength} bytes.`);
  const string = (i: number): string => {
    const start = i === 0 ? 0 : view.getUint32(ends + 4 * (i - 1), true);
    const end = view.getUint32(ends + 4 * i, true);
    return decoder.decode(bytes.subarray(text + start, text + end));
  };
  if (isDelta && (base === undefined || string(1) !== JSON.stringify(base.id)))
    throw new RangeError(
      `Expected a delta against the answer before, received one against ${string(1)}.`,
    );
  const known = base?.answer.candidates ?? [];
  let next = 6;
  const itemOf = (position: number): string =>
    position === NEW_ITEM ? string(next++) : known[position]!.item;
  const ageSeconds = view.getFloat64(16, true);
  return {
    request_id: string(0),
    bundle_id: isDelta ? base!.answer.bundle_id : string(1),
    state: {
      status: (['missing', 'fresh', 'stale', 'version_mismatch'] as const)[view.getUint8(6)]!,
      age_seconds: Number.isNaN(ageSeconds) ? null : ageSeconds,
    },
    degraded: string(3) === '' ? null : { mode: string(3), reason: string(4) },
    plan: string(2),
    truncated: (view.getUint8(7) & 1) === 1,
    ignored: string(5) === '' ? [] : string(5).split(','),
    candidates: positions.map((position, i) => ({
      item: itemOf(position),
      score: view.getFloat32(24 + 4 * i, true),
    })),
  };
}

if (import.meta.filename === process.argv[1]) {
  const [base, user, item] = process.argv.slice(2);
  const response = await fetch(`${base}/v1/candidates`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', accept: 'application/x-tandem' },
    body: JSON.stringify({ user, surface: 'related', subject: { item }, k: 10 }),
  });
  // Errors are JSON, also when the request asked for bytes.
  if (!response.ok) throw new Error(await response.text());
  console.log(JSON.stringify(readAnswer(new Uint8Array(await response.arrayBuffer()))));
}
