// Logged contexts: what a request looked at, as features. The one reading of them, for training and for evaluation.

import type { Dataset, RequestRecord, Subject } from '../../../data/dataset.ts';
import { eventsBefore } from '../../../data/splits.ts';
import { NO_SUBJECT, type ContextFeatures, type SubjectBag } from '../../../features/context.ts';

export class LoggedContext {
  readonly #features: ContextFeatures;
  readonly #dataset: Dataset;
  /** Rows of the schema's categories, by row of the dataset's. */
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

  /** An item in view stands for its strongest categories. @param row - of the catalogue. */
  item(row: number): SubjectBag {
    const { categoryOffsets, categoryValues, categoryConfidences } = this.#dataset.items;
    const begin = categoryOffsets[row]!;
    const end = categoryOffsets[row + 1]!;
    return this.#features.categoryBag(
      categoryValues.subarray(begin, end).map((category) => this.#rows[category]!),
      categoryConfidences.subarray(begin, end),
    );
  }

  /** @param user - row of UserTable, or -1; @param logged - with the request; what it lacks is the user's. */
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
 * [events]: row of Dataset.requests that led to a training event, -1 without one.
 *
 * A request led to the first event on each of its positives by its user at its time or later; of several requests the
 * latest. So the requests of training events came before the training cut.
 *
 * @param trainingEnds - [users]: the training events of user u are [userOffsets[u], trainingEnds[u]).
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
