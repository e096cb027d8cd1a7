// The search row of a report: the requests of a set as somebody would search for them. Queries are as logged where the
// data has any, else synthetic: the title of the item in view, which says what the user looked at and not what came of it.

import type { Dataset } from '../data/dataset.ts';
import type { EvaluationQuery } from './query.ts';

export interface SearchQueries {
  /** Name of the row. */
  readonly label: string;
  readonly queries: readonly EvaluationQuery[];
}

/** @returns undefined where no request has a query, nor an item with a title as subject. */
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
