// The answer before, on a WebSocket: what a delta counts on the client having.

export interface SentAnswer {
  /** Of its subject. */
  readonly id: string | number;
  readonly bundleId: string;
  /** Of its items. */
  readonly itemsVersion: number;
  /** [n], of that bundle and version. */
  readonly rows: Int32Array;
}

/** In place of a position: not in the base. Answers have MAX_CANDIDATES, 1,000, at most. */
export const NEW_ITEM = 0xffff;

/** @returns for each row its position in the base, or NEW_ITEM. */
export function positionsIn(base: SentAnswer, rows: Int32Array): Uint16Array {
  const positions = new Map<number, number>();
  for (const [position, row] of base.rows.entries()) positions.set(row, position);
  return Uint16Array.from(rows, (row) => positions.get(row) ?? NEW_ITEM);
}
