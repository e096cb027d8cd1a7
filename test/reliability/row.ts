// What a row of the harness is: one kind of fault, its targets in words, and a run that records
// what it measured.

export type Scale = 'quick' | 'long';

/** The texts of a row are printed in docs/reliability.md. */
export interface Row {
  readonly name: string;
  /** What goes wrong, in at most 80 characters: a cell of a table. */
  readonly fault: string;
  /** How the fault is made and what is observed. */
  readonly method: string;
  /** What must hold, one sentence each. */
  readonly targets: readonly string[];
  /** Rejects when the row could not be measured at all; that fails the run, too. */
  readonly run: (scale: Scale, figures: Figures) => Promise<void>;
}

/** One measured value, as it is stored in docs/reliability/. */
export interface Figure {
  /** What was measured: unique in its row, at most 80 characters. */
  readonly what: string;
  /** Three significant digits, or a short text. */
  readonly value: number | string;
  readonly unit?: string;
  /** Absent for a figure that is only reported. */
  readonly target?: string;
  /** False when a miss does not fail the run: bounds on speed in the quick form. */
  readonly enforced?: false;
}

/** Thrown by a row that this machine cannot measure, with the reason. */
export class LeftOut extends Error {}

/**
 * What a row measured. Targets are checked where they are stated, so that a miss says by how much.
 */
export class Figures {
  readonly list: Figure[] = [];
  readonly misses: string[] = [];
  /** Shows what a row is doing. */
  readonly progress: (text: string) => void;
  readonly #enforcesSpeed: boolean;

  /**
   * @param scale - the quick form may share its machine with anything, so it enforces no bound on
   * speed.
   */
  constructor(scale: Scale, progress: (text: string) => void) {
    this.#enforcesSpeed = scale === 'long';
    this.progress = progress;
  }

  /** Records a value without a target. */
  report(what: string, value: number | string, unit?: string): void {
    this.#add(what, value, unit);
  }

  atMost(what: string, value: number, bound: number, unit?: string): void {
    this.#add(what, value, unit, { target: atMost(bound), held: value <= bound });
  }

  atLeast(what: string, value: number, bound: number, unit?: string): void {
    this.#add(what, value, unit, { target: `at least ${rounded(bound)}`, held: value >= bound });
  }

  equals(what: string, value: number, expected: number): void {
    this.#add(what, value, undefined, { target: String(expected), held: value === expected });
  }

  holds(what: string, isTrue: boolean): void {
    this.#add(what, isTrue ? 'yes' : 'no', undefined, { target: 'yes', held: isTrue });
  }

  /** A bound on time or rate: enforced in the long form only. */
  fastAtMost(what: string, value: number, bound: number, unit?: string): void {
    const check = { target: atMost(bound), held: value <= bound };
    this.#add(what, value, unit, check, this.#enforcesSpeed);
  }

  /** A bound on time or rate: enforced in the long form only. */
  fastAtLeast(what: string, value: number, bound: number, unit?: string): void {
    const check = { target: `at least ${rounded(bound)}`, held: value >= bound };
    this.#add(what, value, unit, check, this.#enforcesSpeed);
  }

  #add(
    what: string,
    value: number | string,
    unit?: string,
    check?: { readonly target: string; readonly held: boolean },
    enforced: boolean = true,
  ): void {
    const figure: Figure = {
      what,
      value: typeof value === 'number' ? rounded(value) : value,
      ...(unit !== undefined && { unit }),
      ...(check !== undefined && { target: check.target }),
      ...(!enforced && { enforced: false as const }),
    };
    this.list.push(figure);
    if (check !== undefined && !check.held && enforced)
      this.misses.push(`${what}: expected ${targetOf(figure)}, received ${valueOf(figure)}`);
  }
}

/** A figure in one line, for the terminal. */
export function lineOf(figure: Figure): string {
  const target = targetOf(figure);
  const kind = figure.enforced === false ? 'aim' : 'target';
  return `${figure.what}: ${valueOf(figure)}${target === '' ? '' : ` (${kind}: ${target})`}`;
}

/** Value and unit, as a reader wants them. */
export function valueOf({ value, unit }: Figure): string {
  const text =
    typeof value === 'number' ? value.toLocaleString('en-US', { maximumFractionDigits: 9 }) : value;
  return unit === undefined ? text : `${text} ${unit}`;
}

/** Target and unit; empty for a figure without a target. */
export function targetOf({ target = '', unit }: Figure): string {
  return target === '' || unit === undefined ? target : `${target} ${unit}`;
}

/** Counts that must be 0 have the target 0. */
function atMost(bound: number): string {
  return bound === 0 ? '0' : `at most ${rounded(bound)}`;
}

function rounded(value: number): number {
  return Number.isInteger(value) ? value : Number(value.toPrecision(3));
}
