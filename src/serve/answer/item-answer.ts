// The answer to GET /v1/items/{id}: an item with the names that requests and filters use.

import { unknownItem } from './encode-answer.ts';
import type { Engine } from '../engine/engine.ts';
import { invalid, parseBody } from '../request/parse-body.ts';
import { name } from '../request/shared-schemas.ts';

/**
 * Describes an item.
 *
 * @param encodedId - the id from the path, percent-encoded (RFC 3986).
 * @returns an ItemResponse as JSON. Unknown values are null; an empty list of countries means every
 *   country.
 * @throws TandemError ERR_UNKNOWN_ITEM; ERR_INVALID_REQUEST for a wrong encoding.
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
    return parseBody(name, decodeURIComponent(encoded));
  } catch (error) {
    if (!(error instanceof URIError)) throw error;
    throw invalid('Expected an item id with percent-encoded UTF-8 in the path.', 'id');
  }
}
