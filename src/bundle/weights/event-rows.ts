// Turns events that name items and actions into the rows that a bundle's history encoder reads.

import { ActionRows } from '../../features/action-rows.ts';
import type { CompactSchema } from '../../features/schema.ts';
import type { EventColumns } from '../../features/sequence.ts';
import type { ItemCatalogue } from '../catalogue.ts';

export interface NamedEvent {
  readonly item: string;
  /** Empty when unknown. */
  readonly action: string;
  /** Unix seconds. */
  readonly time: number;
}

export class EventRows {
  readonly #catalogue: ItemCatalogue;
  readonly #actions: ActionRows;

  constructor({ catalogue, schema }: { catalogue: ItemCatalogue; schema: CompactSchema }) {
    this.#catalogue = catalogue;
    this.#actions = new ActionRows(schema);
  }

  /**
   * Looks up the rows of events, and leaves out events of items that the catalogue does not have.
   *
   * @param events - in order of time.
   * @returns the columns, all of one length.
   */
  columns(events: readonly NamedEvent[]): EventColumns & { readonly times: Float64Array } {
    const known = events.filter(({ item }) => this.#catalogue.row(item) >= 0);
    return {
      items: Int32Array.from(known, ({ item }) => this.#catalogue.row(item)),
      actions: Int32Array.from(known, ({ action }) => this.#actions.row(action)),
      times: Float64Array.from(known, ({ time }) => time),
    };
  }
}
