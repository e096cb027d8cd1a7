// The bundles of a loop thread: engines over memory that it shares with the leading loop, which
// sends them.

import { Engine } from '../engine/engine.ts';
import type { Served } from '../engine/served.ts';
import type { EngineReference, ServedReferences } from './loop-threads.ts';

export class ReceivedBundles {
  /** Engines by the number of their bundle. */
  #engines: ReadonlyMap<number, Engine> = new Map();
  #served: Served | undefined;

  /** Read only after the first receive(). */
  get served(): Served {
    if (this.#served === undefined)
      throw new Error('Expected the leading loop to send its bundles before the port, it did not.');
    return this.#served;
  }

  /**
   * Serves the engines that the leading loop refers to. Engines that it no longer refers to are
   * released.
   */
  receive({ active, previous }: ServedReferences): void {
    const engines = new Map<number, Engine>();
    const engineOf = ({ number, shared, items }: EngineReference): Engine => {
      const known = shared === undefined ? this.#engines.get(number)! : Engine.attach(shared);
      const engine = items === undefined ? known : known.withItems(items);
      engines.set(number, engine);
      return engine;
    };
    this.#served = { active: engineOf(active), previous: previous && engineOf(previous) };
    this.#engines = engines;
  }
}
