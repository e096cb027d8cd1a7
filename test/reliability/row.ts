// What a row of the harness is: one fault, its target in words, and a run that says what was measured and what was missed.

export type Scale = 'quick' | 'long';

export interface Row {
  readonly name: string;
  readonly target: string;
  /** Rejects when the row could not be measured at all; that fails the run, too. */
  readonly run: (scale: Scale, figures: Figures) => Promise<void>;
}

/** Thrown by a row that this machine cannot measure, with the reason. */
export class LeftOut extends Error {}

/** What a row measured. Bounds are checked where they are stated, so that a miss says by how much. */
export class Figures {
  readonly lines: string[] = [];
  readonly misses: string[] = [];
  /** Shows what a row is doing. */
  readonly progress: (text: string) => void;
  readonly #holdsSpeed: boolean;

  /** @param scale - the quick form runs beside anything, also in CI: it holds no bound on speed. */
  constructor(scale: Scale, progress: (text: string) => void) {
    this.#holdsSpeed = scale === 'long';
    this.progress = progress;
  }

  note(text: string): void {
    this.lines.push(text);
  }

  atMost(what: string, value: number, bound: number, unit: string = ''): void {
    this.#bound(what, value, value <= bound, `at most ${rounded(bound)}${unit}`, unit);
  }

  atLeast(what: string, value: number, bound: number, unit: string = ''): void {
    this.#bound(what, value, value >= bound, `at least ${rounded(bound)}${unit}`, unit);
  }

  /** A bound on time or rate. */
  fastAtMost(what: string, value: number, bound: number, unit: string = ''): void {
    if (this.#holdsSpeed) this.atMost(what, value, bound, unit);
    else this.note(`${what} ${rounded(value)}${unit} (aim: at most ${rounded(bound)}${unit})`);
  }

  /** A bound on time or rate. */
  fastAtLeast(what: string, value: number, bound: number, unit: string = ''): void {
    if (this.#holdsSpeed) this.atLeast(what, value, bound, unit);
    else this.note(`${what} ${rounded(value)}${unit} (aim: at least ${rounded(bound)}${unit})`);
  }

  #bound(what: string, value: number, held: boolean, bound: string, unit: string): void {
    this.lines.push(`${what} ${rounded(value)}${unit} (${bound})`);
    if (!held) this.misses.push(`${what}: expected ${bound}, received ${rounded(value)}${unit}`);
  }
}

function rounded(value: number): string {
  return Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(3)));
}
