// GET /v1/items/{id}: what is known of an item, in the words of requests and filters.

import { unknownItem } from './encode-answer.ts';
import type { Engine } from '../engine/engine.ts';
import { invalid } from '../request/parse-body.ts';

/**
 * @param encodedId - the id as it stands in the path, percent-encoded (RFC 3986).
 * @returns an ItemResponse as JSON; null stands for what is unknown, no countries for every country.
 * @throws TandemError ERR_UNKNOWN_ITEM; ERR_INVALID_REQUEST when the encoding is wrong.
 */
export function describeItem(engine: Engine, encodedId: string): string {
  const id = decodeId(encodedId);
  const { items } = engine;
  const { schema, manifest } = engine.bundle;
  const row = items.row(id);
  if (row < 0) throw unknownItem(engine, id.slice(0, 256), null);
  const price = items.price(row);
  const confidences = items.confidences(row);
  return JSON.stringify({
    bundle_id: manifest.bundleId,
    item: id,
    title: items.title(row),
    advertiser: items.advertiser(row) || null,
    price: Number.isNaN(price) ? null : price,
    categories: Array.from(items.categoryRows(row), (category, i) => ({
      category: schema.categories[category],
      confidence: Math.round(confidences[i]! * 1e6) / 1e6,
    })),
    countries: items.targetCountries(row),
    recent_events: items.popularity(row),
  });
}

function decodeId(encoded: string): string {
  try {
    return decodeURIComponent(encoded);
  } catch {
    throw invalid('Expected an item id with percent-encoded UTF-8 in the path.', 'id');
  }
}
