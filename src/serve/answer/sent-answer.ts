// The base of a delta: the previous answer on a WebSocket, which the client still has.

export interface SentAnswer {
  /** Id of the frame that asked for it. */
  readonly id: string | number;
  readonly bundleId: string;
  /** Version of the item changes that it was computed with. */
  readonly itemsVersion: number;
  /** [n] rows of that bundle with these changes. */
  readonly rows: Int32Array;
}

/**
 * Stands for "not in the base" instead of a position. Positions are below MAX_CANDIDATES, 1,000.
 */
export const NEW_ITEM = 0xffff;

/**
 * Finds the position of each row in the base.
 *
 * @returns NEW_ITEM for a row that is not in it.
 */
export function positionsIn(base: SentAnswer, rows: Int32Array): Uint16Array {
  const positions = new Map<number, number>();
  for (const [position, row] of base.rows.entries()) positions.set(row, position);
  return Uint16Array.from(rows, (row) => positions.get(row) ?? NEW_ITEM);
}
