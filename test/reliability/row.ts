// What a row of the harness is: one fault, its target in words, and a run that says what was measured and what was missed.

export type Scale = 'quick' | 'long';

export interface Row {
  readonly name: string;
  readonly target: string;
  /** Rejects when the row could not be measured at all; that fails the run, too. */
  readonly run: (scale: Scale, figures: Figures) => Promise<void>;
}

/** What a row measured. Bounds are checked where they are stated, so that a miss says by how much. */
export class Figures {
  readonly lines: string[] = [];
  readonly misses: string[] = [];
  /** Shows what a row is doing. */
  readonly progress: (text: string) => void;

  constructor(progress: (text: string) => void) {
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

  #bound(what: string, value: number, held: boolean, bound: string, unit: string): void {
    this.lines.push(`${what} ${rounded(value)}${unit} (${bound})`);
    if (!held) this.misses.push(`${what}: expected ${bound}, received ${rounded(value)}${unit}`);
  }
}

function rounded(value: number): string {
  return Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(3)));
}
