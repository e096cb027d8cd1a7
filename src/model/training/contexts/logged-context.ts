// Logged contexts: the context of a logged request as features. Training and evaluation share this
// implementation.

import type { Dataset, RequestRecord, Subject } from '../../../data/dataset.ts';
import { eventsBefore } from '../../../data/splits.ts';
import { NO_SUBJECT, type ContextFeatures, type SubjectBag } from '../../../features/context.ts';

/** Turns logged subjects and demographics into features. */
export class LoggedContext {
  readonly #features: ContextFeatures;
  readonly #dataset: Dataset;
  /** Category rows of the schema, by category row of the dataset. */
  readonly #rows: Int32Array;

  constructor(features: ContextFeatures, dataset: Dataset) {
    this.#features = features;
    this.#dataset = dataset;
    this.#rows = Int32Array.from(dataset.items.categoryNames, (name) => features.categoryRow(name));
  }

  subject(subject: Subject): SubjectBag {
    switch (subject.kind) {
      case 'item':
        return this.item(subject.item);
      case 'interests':
        return this.#features.interestBag(subject.interests);
      case 'query':
        return this.#features.queryBag(subject.query);
      case 'none':
        return NO_SUBJECT;
    }
  }

  /**
   * The subject of an item in view: its strongest categories.
   *
   * @param row - catalogue row of the item.
   */
  item(row: number): SubjectBag {
    const { categoryOffsets, categoryValues, categoryConfidences } = this.#dataset.items;
    const begin = categoryOffsets[row]!;
    const end = categoryOffsets[row + 1]!;
    return this.#features.categoryBag(
      categoryValues.subarray(begin, end).map((category) => this.#rows[category]!),
      categoryConfidences.subarray(begin, end),
    );
  }

  /**
   * Rows of the three demographic tables. A field that the request lacks comes from the user's
   * attributes.
   *
   * @param user - row of UserTable, or -1.
   * @param logged - demographics logged with the request.
   */
  demographics(user: number, logged: RequestRecord['demographics']): [number, number, number] {
    const { users } = this.#dataset;
    const age = logged.age ?? (user < 0 ? Number.NaN : users.ages[user]!);
    return this.#features.demographicRows({
      age: Number.isNaN(age) ? undefined : age,
      gender: logged.gender ?? (user < 0 ? undefined : users.genders[user]),
      country: logged.country ?? (user < 0 ? undefined : users.countries[user]),
    });
  }
}

/**
 * Finds for each training event the request that led to it.
 *
 * For each of its positives, a request led to the user's first event on that item at or after the
 * time of the request. When several requests led to one event, the latest request counts. So every
 * request that is found came before the training cut.
 *
 * @param trainingEnds - [users]: the training events of user u are [userOffsets[u],
 *   trainingEnds[u]).
 * @returns [events] rows of Dataset.requests, -1 without one.
 */
export function requestsOfEvents(dataset: Dataset, trainingEnds: Int32Array): Int32Array {
  const { events, requests } = dataset;
  const found = new Int32Array(events.count).fill(-1);
  if (!dataset.hasTime) return found;
  for (const [row, { user, time, positives }] of requests.entries()) {
    if (user < 0) continue;
    const wanted = new Set(positives);
    const end = trainingEnds[user]!;
    let event = events.userOffsets[user]! + eventsBefore(dataset, user, time);
    for (; event < end && wanted.size > 0; event++)
      if (wanted.delete(events.items[event]!)) found[event] = row;
  }
  return found;
}
