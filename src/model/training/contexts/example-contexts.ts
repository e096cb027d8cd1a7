// Draws the context of a training example: the context of the logged request that led to its
// positive, or a pseudo-context.

import type { Dataset, RequestRecord } from '../../../data/dataset.ts';
import { NO_SUBJECT, type ContextFeatures, type SubjectBag } from '../../../features/context.ts';
import type { Random } from '../../../random.ts';
import { LoggedContext, requestsOfEvents } from './logged-context.ts';
import { PseudoContext } from './pseudo-context.ts';
import type { TrainConfig } from '../../train-config.ts';

/** Number of conversions before a positive, and after it, that can be its neighbour. */
const NEIGHBOUR_REACH = 50;

/** The context of one training example. */
export interface ExampleContext {
  readonly subject: SubjectBag;
  /** Catalogue row of the item in view, -1 when there is none. It is never the positive. */
  readonly subjectItem: number;
  /** Rows of the three demographic tables. */
  readonly demographics: readonly [number, number, number];
  /** Unix seconds of the logged request, or of the positive when there is no request. */
  readonly timeSeconds: number;
}

type View = Pick<ExampleContext, 'subject' | 'subjectItem'>;
const NOTHING: View = { subject: NO_SUBJECT, subjectItem: -1 };
const UNKNOWN = [0, 0, 0] as const;

/** Draws the contexts of training examples. */
export class ExampleContexts {
  readonly #dataset: Dataset;
  readonly #config: TrainConfig;
  readonly #logged: LoggedContext;
  readonly #pseudo: PseudoContext;
  /**
   * [events] row of the request that led to each event, -1 without one. Empty when loggedShare is
   * 0.
   */
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

  /**
   * Draws the context of an example.
   *
   * @param event - index of the positive in the event table.
   * @param user - the user of the positive, whose training events are [first, end).
   */
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

  /**
   * The subject of the request; none when the item in view is the positive itself, because serving
   * never returns the item in view.
   */
  #viewOf({ subject }: RequestRecord, event: number): View {
    const subjectItem = subject.kind === 'item' ? subject.item : -1;
    if (subjectItem === this.#dataset.events.items[event]) return NOTHING;
    return { subject: this.#logged.subject(subject), subjectItem };
  }

  /**
   * A pseudo-context: a subject that the user may have looked at. A subject from the categories of
   * a neighbour has the neighbour as the item in view, like a logged subject. A subject from the
   * categories of the positive has no item in view, because that item would be the label. A query
   * has no item in view.
   */
  #pseudoView(event: number, first: number, end: number, random: Random): View {
    const { neighbourShare, queryShare } = this.#config;
    const source =
      random.uniform() < neighbourShare ? this.#neighbour(event, first, end, random) : event;
    const item = this.#dataset.events.items[source]!;
    if (random.uniform() < queryShare)
      return { subject: this.#pseudo.query(item, random), subjectItem: -1 };
    return {
      subject: this.#pseudo.categories(item, random),
      subjectItem: source === event ? -1 : item,
    };
  }

  /**
   * A random conversion of the user on another item, close to the event in time; the event itself
   * when there is none.
   */
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
