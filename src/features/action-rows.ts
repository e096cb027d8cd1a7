// Maps the names of actions to rows of the action table. Training, batch encoding, fresh events and
// evaluation share this implementation.

import type { CompactSchema } from './schema.ts';
import { Vocabulary } from './vocabulary.ts';

/**
 * The action of an event that names none: the only action of the data, if there is exactly one.
 * Data without actions also have one action, which the import names.
 *
 * @returns empty, an unknown action, when the data have several.
 */
export function impliedAction({ actions }: Pick<CompactSchema, 'actions'>): string {
  return actions.length === 1 ? actions[0]! : '';
}

/** Row 0 stands for an unknown action, row i + 1 for `schema.actions[i]`. */
export class ActionRows {
  readonly #actions: Vocabulary;

  constructor(schema: Pick<CompactSchema, 'actions'>) {
    this.#actions = new Vocabulary(schema.actions);
  }

  /** Row of an action; 0 when the schema does not have it. */
  row(name: string): number {
    return this.#actions.row(name) + 1;
  }

  /**
   * Rows of a whole column of events.
   *
   * @param actions - [E] indices into `actionNames`.
   * @returns [E] rows of the action table.
   */
  column({
    actions,
    actionNames,
  }: {
    readonly actions: Int32Array;
    readonly actionNames: readonly string[];
  }): Int32Array {
    const rows = actionNames.map((name) => this.row(name));
    return actions.map((action) => rows[action]!);
  }
}
