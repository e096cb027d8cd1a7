// Maps the names of actions to rows of the action table. Training, batch encoding, fresh events and
// evaluation share this implementation.

import type { CompactSchema } from './schema.ts';
import { Vocabulary } from './vocabulary.ts';

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
