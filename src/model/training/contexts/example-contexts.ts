// Which context an example of training has: that of the request which was logged with its conversion, or a pseudo-context.

import type { Dataset, RequestRecord } from '../../../data/dataset.ts';
import { NO_SUBJECT, type ContextFeatures, type SubjectBag } from '../../../features/context.ts';
import type { Random } from '../../../random.ts';
import { LoggedContext, requestsOfEvents } from './logged-context.ts';
import { PseudoContext } from './pseudo-context.ts';
import type { TrainConfig } from '../../train-config.ts';

/** Conversions on either side of a positive that are looked at for a neighbour. */
const NEIGHBOUR_REACH = 50;

export interface ExampleContext {
  readonly subject: SubjectBag;
  /** Row of the item in view, -1 when there is none; never the positive. */
  readonly subjectItem: number;
  /** Rows of the three demographic tables. */
  readonly demographics: readonly [number, number, number];
  /** When the user asked: the request's time, or the conversion's. Unix seconds. */
  readonly timeSeconds: number;
}

type View = Pick<ExampleContext, 'subject' | 'subjectItem'>;
const NOTHING: View = { subject: NO_SUBJECT, subjectItem: -1 };
const UNKNOWN = [0, 0, 0] as const;

export class ExampleContexts {
  readonly #dataset: Dataset;
  readonly #config: TrainConfig;
  readonly #logged: LoggedContext;
  readonly #pseudo: PseudoContext;
  /** [events] row of the request that led to it, -1 without one; empty where no logged context is drawn. */
  readonly #requests: Int32Array;

  constructor(
    dataset: Dataset,
    features: ContextFeatures,
    config: TrainConfig,
    trainingEnds: Int32Array,
  ) {
    this.#dataset = dataset;
    this.#config = config;
    this.#logged = new LoggedContext(features, dataset);
    this.#pseudo = new PseudoContext(features, dataset.items);
    this.#requests =
      config.loggedShare > 0 ? requestsOfEvents(dataset, trainingEnds) : new Int32Array(0);
  }

  /** @param event - the positive, of `user`, whose training events are [first, end). */
  draw(event: number, user: number, first: number, end: number, random: Random): ExampleContext {
    const { model, loggedShare, subjectDropout, demographicDropout } = this.#config;
    const logged = random.uniform() < loggedShare;
    const request = logged ? this.#dataset.requests[this.#requests[event]!] : undefined;
    const timeSeconds = request?.time ?? this.#dataset.events.times[event]!;
    if (model.fusion === 'none')
      return { subject: NO_SUBJECT, subjectItem: -1, demographics: UNKNOWN, timeSeconds };
    const dropped = random.uniform() < subjectDropout;
    const withoutDemographics = random.uniform() < demographicDropout;
    let view: View = NOTHING;
    if (request !== undefined && !dropped) view = this.#viewOf(request, event);
    else if (!logged && !dropped) view = this.#pseudoView(event, first, end, random);
    return {
      subject: view.subject,
      subjectItem: view.subjectItem,
      demographics: withoutDemographics
        ? UNKNOWN
        : this.#logged.demographics(user, request?.demographics ?? {}),
      timeSeconds,
    };
  }

  /** What the request looked at; nothing when that is the positive itself, which no answer would contain. */
  #viewOf({ subject }: RequestRecord, event: number): View {
    const subjectItem = subject.kind === 'item' ? subject.item : -1;
    if (subjectItem === this.#dataset.events.items[event]) return NOTHING;
    return { subject: this.#logged.subject(subject), subjectItem };
  }

  /**
   * What the user might have looked at. A neighbour is an item in view like a logged one; what is made up from the positive
   * itself has none, for it would be the label, and neither has a query.
   */
  #pseudoView(event: number, first: number, end: number, random: Random): View {
    const { neighbourShare, queryShare } = this.#config;
    const source =
      random.uniform() < neighbourShare ? this.#neighbour(event, first, end, random) : event;
    const row = this.#dataset.events.items[source]!;
    if (random.uniform() < queryShare)
      return { subject: this.#pseudo.query(row, random), subjectItem: -1 };
    return {
      subject: this.#pseudo.categories(row, random),
      subjectItem: source === event ? -1 : row,
    };
  }

  /** Another conversion of the user close in time, on another item; the event itself when there is none. */
  #neighbour(event: number, first: number, end: number, random: Random): number {
    const { times, items } = this.#dataset.events;
    const near: number[] = [];
    const from = Math.max(first, event - NEIGHBOUR_REACH);
    const to = Math.min(end, event + NEIGHBOUR_REACH + 1);
    for (let other = from; other < to; other++)
      if (
        items[other] !== items[event] &&
        Math.abs(times[other]! - times[event]!) <= this.#config.neighbourSeconds
      )
        near.push(other);
    return near.length === 0 ? event : near[random.integer(near.length)]!;
  }
}
