// The search row of a report: the requests of a set as search queries. Logged queries are used if
// the data has any. Otherwise queries are synthetic: the title of the item in view, which reflects
// what the user looked at and not what followed.

import type { Dataset } from '../data/dataset.ts';
import type { EvaluationQuery } from './query.ts';

/** The requests of a set as search queries. */
export interface SearchQueries {
  /** The name of the row. */
  readonly label: string;
  readonly queries: readonly EvaluationQuery[];
}

/**
 * The search queries of a set of requests.
 *
 * @returns undefined when no request has a query, or an item with a title as its subject.
 */
export function searchQueries(
  queries: readonly EvaluationQuery[],
  dataset: Dataset,
): SearchQueries | undefined {
  const logged = queries.filter(({ subject }) => subject.kind === 'query');
  if (logged.length > 0) return { label: 'search (logged queries)', queries: logged };
  const synthetic = queries.flatMap((query): EvaluationQuery[] => {
    const { subject } = query;
    const title = subject.kind === 'item' ? dataset.items.titles[subject.item]! : '';
    return title === '' ? [] : [{ ...query, subject: { kind: 'query', query: title } }];
  });
  if (synthetic.length === 0) return undefined;
  return { label: 'search (synthetic queries: titles of subjects)', queries: synthetic };
}
