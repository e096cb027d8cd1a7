// Encodes the catalogue as items.safetensors: columns, with text as one UTF-8 blob and offsets.
// docs/reference/bundle-format.md has the layout.

import { isUtf8 } from 'node:buffer';
import { TandemError } from '../errors.ts';
import { TextColumn, type TextBytes } from '../text-column.ts';
import { ItemCatalogue, isAscending, type CatalogueColumns } from './catalogue.ts';
import { decodeSafetensors, encodeSafetensors, expectTensor, type Tensor } from './safetensors.ts';

const FILE = 'items.safetensors';

/** Encodes a catalogue as the bytes of items.safetensors. */
export function encodeCatalogue(catalogue: ItemCatalogue): Uint8Array {
  const { columns, ids, titles } = catalogue.parts();
  const tensors = new Map<string, Tensor>();
  const vector = (name: string, data: Tensor['data']): void => {
    tensors.set(name, { shape: [data.length], data });
  };
  const strings = (name: string, { blob, offsets }: TextBytes): void => {
    vector(`${name}.utf8`, blob);
    vector(`${name}.offsets`, offsets);
  };
  strings('ids', ids);
  strings('titles', titles);
  strings('advertisers', TextColumn.of(columns.advertiserNames).bytes);
  strings('countries', TextColumn.of(columns.countryNames).bytes);
  vector('advertiser.rows', columns.advertiserRows);
  vector('price', columns.prices);
  vector('category.offsets', columns.categories.offsets);
  vector('category.rows', columns.categories.values);
  vector('category.confidences', columns.categoryConfidences);
  vector('country.offsets', columns.countries.offsets);
  vector('country.rows', columns.countries.values);
  vector('popularity', columns.popularity);
  return encodeSafetensors(tensors, { format: 'tandem-items', version: '1' });
}

/**
 * Decodes the bytes of items.safetensors.
 *
 * @throws TandemError ERR_BUNDLE_INVALID when a column is missing, or columns do not fit together.
 */
export function decodeCatalogue(bytes: Uint8Array): ItemCatalogue {
  const { tensors } = decodeSafetensors(bytes, FILE);
  const ints = (name: string): Int32Array => expectTensor(tensors, name, Int32Array, [null], FILE);
  const floats = (name: string): Float32Array =>
    expectTensor(tensors, name, Float32Array, [null], FILE);
  const strings = (name: string): TextColumn =>
    checkedText(
      expectTensor(tensors, `${name}.utf8`, Uint8Array, [null], FILE),
      ints(`${name}.offsets`),
      name,
    );
  const columns: CatalogueColumns = {
    ids: strings('ids'),
    titles: strings('titles'),
    advertiserNames: strings('advertisers').all(),
    advertiserRows: ints('advertiser.rows'),
    prices: expectTensor(tensors, 'price', Float64Array, [null], FILE),
    categories: { offsets: ints('category.offsets'), values: ints('category.rows') },
    categoryConfidences: floats('category.confidences'),
    countryNames: strings('countries').all(),
    countries: { offsets: ints('country.offsets'), values: ints('country.rows') },
    popularity: floats('popularity'),
  };
  try {
    return new ItemCatalogue(columns);
  } catch (cause) {
    throw invalid(cause instanceof Error ? cause.message : String(cause), cause);
  }
}

function checkedText(blob: Uint8Array, offsets: Int32Array, name: string): TextColumn {
  const count = offsets.length - 1;
  if (count < 0 || !isAscending(offsets) || offsets[count] !== blob.length)
    throw invalid(`Expected ascending offsets that end at ${blob.length} for "${name}".`);
  // An offset inside a character would split the character between two texts.
  const cut = offsets.subarray(0, count).some((begin) => (blob[begin]! & 0xc0) === 0x80);
  if (cut || !isUtf8(blob)) throw invalid(`Expected UTF-8 in "${name}".`);
  return new TextColumn({ blob, offsets });
}

function invalid(message: string, cause?: unknown): TandemError {
  return new TandemError(
    'ERR_BUNDLE_INVALID',
    `${message} ${FILE} is damaged: publish the bundle again.`,
    { cause, details: { file: FILE } },
  );
}
