// Measures recall@100 of a server over HTTP. Servers whose rates are compared must find equally
// much.

import { nativeAddon } from '../../src/native/addon.ts';
import type { Bundle } from '../../src/bundle/load.ts';
import { newSearchOutput } from '../../src/retrieval/search-plan.ts';
import { K, type Question } from './load.ts';

/** The best K items of each question. */
export type Truth = readonly ReadonlySet<string>[];

/**
 * Finds the true best items of each question by an exact scan with the query embedding that our
 * server returns.
 *
 * @param port - port of our server.
 */
export async function trueBest(
  port: number,
  { vectors, catalogue, manifest }: Bundle,
  questions: readonly Question[],
): Promise<Truth> {
  const width = manifest.model.embeddingWidth;
  const index = new (nativeAddon().ExactIndex)(vectors, width);
  const found = newSearchOutput(1, K + 1);
  const truth: Set<string>[] = [];
  for (const question of questions) {
    const { embedding } = (await post(port, '/v1/embeddings', question)) as {
      embedding: readonly number[];
    };
    index.search(Float32Array.from(embedding), 1, K + 1, null, found);
    const ids = Array.from(found.rows, (row) => catalogue.id(row));
    // The subject is never a candidate.
    truth.push(new Set(ids.filter((id) => id !== question.subject['item']).slice(0, K)));
  }
  return truth;
}

/** Returns the mean share of the true best items in the answers of a server. */
export async function recallOf(
  port: number,
  questions: readonly Question[],
  truth: Truth,
): Promise<number> {
  let found = 0;
  for (const [i, question] of questions.entries()) {
    const { candidates } = (await post(port, '/v1/candidates', { ...question, k: K })) as {
      candidates: readonly { readonly item: string }[];
    };
    found += candidates.filter(({ item }) => truth[i]!.has(item)).length;
  }
  return found / (questions.length * K);
}

/** @throws Error for any answer but 200. */
export async function post(
  port: number,
  path: string,
  body: object,
  method = 'POST',
): Promise<unknown> {
  const response = await fetch(`http://127.0.0.1:${port}${path}`, {
    method,
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  if (!response.ok)
    throw new Error(
      `Expected 200 of ${path}, received ${response.status}: ${await response.text()}`,
    );
  return response.json();
}
