// The ids of a bundle: digests of its parts, which decide what may be used together. Equal content
// gives equal ids on any machine.

import { createHash } from 'node:crypto';
import { TandemError } from '../errors.ts';
import type { BundleId, EncoderId } from '../ids.ts';
import { canonicalJson, sha256Hex } from '../json.ts';
import { maxStateRows, type BundleManifest, type ModelConfig } from './manifest.ts';
import { littleEndianBytes, type Tensor } from './safetensors.ts';

type Tensors = ReadonlyMap<string, Tensor>;

/** The names of tensors that belong to the head alone begin with one of these. */
const HEAD_PREFIXES = ['context.', 'head.'] as const;

/**
 * Whether a tensor belongs to the head alone, so that it does not change encoderId and itemTowerId.
 */
export function isHeadTensor(name: string): boolean {
  return HEAD_PREFIXES.some((prefix) => name.startsWith(prefix));
}

/**
 * Identifies the history encoder: user states of the same encoderId live in one space.
 *
 * Covers `items.*` and `encoder.*`, the encoder's sizes, the feature schema, the number of rows of
 * a state (one row cannot stand for a sequence), and whether states have history boosts.
 */
export function encoderId(tensors: Tensors, config: ModelConfig, schemaHash: string): EncoderId {
  const { embeddingWidth, blocks, heads, feedForwardWidth, maxHistory, actionWidth } = config;
  const { historyMean, itemFrequency } = config;
  const part = {
    embeddingWidth,
    blocks,
    heads,
    feedForwardWidth,
    maxHistory,
    actionWidth,
    ...(historyMean && { historyMean }),
    ...(itemFrequency && { itemFrequency }),
    stateRows: maxStateRows(config),
  };
  return digestPart('encoder', tensors, ['items.', 'encoder.'], part, schemaHash) as EncoderId;
}

/**
 * Identifies the online half of the query tower. Covers `context.*`, `head.*`, fusion, their sizes
 * and the schema; with subjectItem also `items.*`, from which such a head reads the item in view.
 */
export function headId(tensors: Tensors, config: ModelConfig, schemaHash: string): string {
  const { fusion, embeddingWidth, hiddenWidth, heads } = config;
  const { subjectWidth, demographicWidth, contextWidth, subjectItem } = config;
  const part = {
    fusion,
    embeddingWidth,
    hiddenWidth,
    ...(fusion !== 'none' && { subjectWidth, demographicWidth, contextWidth }),
    ...(fusion === 'attention' && { heads }),
    ...(subjectItem && { subjectItem }),
  };
  const prefixes = [...HEAD_PREFIXES, ...(subjectItem ? ['items.'] : [])];
  return digestPart('head', tensors, prefixes, part, schemaHash);
}

/** Identifies the item tower. Covers `items.*`, `tower.*`, their sizes and the schema. */
export function itemTowerId(tensors: Tensors, config: ModelConfig, schemaHash: string): string {
  const { embeddingWidth, hiddenWidth } = config;
  const part = { embeddingWidth, hiddenWidth };
  return digestPart('tower', tensors, ['items.', 'tower.'], part, schemaHash);
}

/** Identifies a search index by the digest of its file. */
export function indexId(indexBytes: Uint8Array): string {
  return sha256Hex(indexBytes);
}

/** Identifies a bundle by the digest of its manifest, which has the digest of every file. */
export function bundleId(manifest: Omit<BundleManifest, 'bundleId'>): BundleId {
  const rest = Object.fromEntries(
    Object.entries(manifest).filter(([field]) => field !== 'bundleId'),
  );
  return sha256Hex(canonicalJson(rest)) as BundleId;
}

function digestPart(
  part: string,
  tensors: Tensors,
  prefixes: readonly string[],
  config: object,
  schemaHash: string,
): string {
  const names = [...tensors.keys()]
    .filter((name) => prefixes.some((prefix) => name.startsWith(prefix)))
    .sort();
  for (const prefix of prefixes)
    // A model without context has no context tensors; no other part may be empty.
    if (prefix !== 'context.' && !names.some((name) => name.startsWith(prefix)))
      throw new TandemError(
        'ERR_BUNDLE_INVALID',
        `Expected tensors named ${prefix}* for the id of the ${part}, ` +
          `received none among ${tensors.size}. Take all weights of one checkpoint.`,
        { details: { part, prefix } },
      );
  const hash = createHash('sha256');
  const header = names.map((name) => {
    const { shape, data } = tensors.get(name)!;
    return { name, shape, type: data.constructor.name };
  });
  hash.update(canonicalJson({ part, config, schemaHash, tensors: header }));
  for (const name of names) hash.update(littleEndianBytes(tensors.get(name)!.data));
  return hash.digest('hex');
}
