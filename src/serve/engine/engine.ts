// An engine is a bundle that is ready to answer requests: ids, features, head and index. It knows
// nothing of users or HTTP.

import { ItemCatalogue, type CatalogueParts } from '../../bundle/catalogue.ts';
import type { Bundle } from '../../bundle/load.ts';
import { TandemError } from '../../errors.ts';
import {
  ContextFeatures,
  NO_SUBJECT,
  type ContextParts,
  type SubjectBag,
} from '../../features/context.ts';
import type { CompactSchema } from '../../features/schema.ts';
import type { EncoderId } from '../../ids.ts';
import { nativeAddon } from '../../native/addon.ts';
import type { NativeHead } from '../../native/head.ts';
import type { Ticket } from '../../native/ticket.ts';
import { openIndex } from '../../retrieval/approximate-index.ts';
import {
  PlannedIndex,
  scansAll,
  type PlanMode,
  type SharedPlan,
} from '../../retrieval/planned-index.ts';
import { FilterCompiler } from './filters.ts';
import { LiveItems, type ItemOverlay } from './live-items.ts';
import type { RequestDemographics, RequestSubject } from '../request/request-types.ts';

/** A subject in rows of the bundle. */
export interface ResolvedSubject {
  readonly bag: SubjectBag;
  /** Row of LiveItems if the subject is an item, else -1. This item is no candidate. */
  readonly itemRow: number;
  /**
   * Row of the item that the head reads; -1 if the head reads none, or the bundle's weights do not
   * know the item.
   */
  readonly inputRow: number;
}

const NO_RESOLVED_SUBJECT: ResolvedSubject = { bag: NO_SUBJECT, itemRow: -1, inputRow: -1 };
const UNKNOWN_DEMOGRAPHICS: readonly [number, number, number] = [0, 0, 0];

/**
 * The parts of a bundle that are read while it is served. Head and index have copies of the other
 * parts.
 */
export type ServedBundle = Pick<Bundle, 'directory' | 'manifest' | 'catalogue' | 'vectors'> & {
  readonly schema: CompactSchema;
};

/**
 * An engine that is passed to another event loop. Engine.attach() can use it once. Weights, vectors
 * and index are shared, not copied.
 */
export interface SharedEngine {
  readonly bundle: Omit<ServedBundle, 'catalogue'> & { readonly catalogue: CatalogueParts };
  readonly features: ContextParts;
  readonly head: Ticket<NativeHead>;
  readonly index: SharedPlan;
}

/** The parts that all engines of one bundle share, whatever changes of items they have. */
interface EngineCore {
  readonly bundle: ServedBundle;
  readonly head: NativeHead;
  readonly index: PlannedIndex;
  readonly filters: FilterCompiler;
  readonly features: ContextFeatures;
}

export class Engine {
  readonly bundle: ServedBundle;
  readonly encoderId: EncoderId;
  readonly head: NativeHead;
  readonly index: PlannedIndex;
  /** The items that requests see. */
  readonly items: LiveItems;
  /** D, width of an embedding. */
  readonly width: number;
  /** False for fusion `none`: then subject and demographics of a request change nothing. */
  readonly usesContext: boolean;
  /** Whether the head reads the subject's item itself, in addition to its categories. */
  readonly usesSubjectItem: boolean;
  readonly #core: EngineCore;

  private constructor(core: EngineCore, overlay?: ItemOverlay) {
    const { bundle, head, index, filters } = core;
    const { manifest, schema, catalogue } = bundle;
    this.#core = core;
    this.head = head;
    this.bundle = bundle;
    this.encoderId = manifest.encoderId as EncoderId;
    this.width = manifest.model.embeddingWidth;
    this.usesContext = manifest.model.fusion !== 'none';
    this.usesSubjectItem = this.usesContext && manifest.model.subjectItem;
    this.index = index;
    this.items = new LiveItems(catalogue, filters, schema.categories, this.width, overlay);
  }

  static #of(parts: Omit<EngineCore, 'filters'>): Engine {
    const { catalogue, schema } = parts.bundle;
    const filters = new FilterCompiler(catalogue, schema.categories);
    return new Engine({ ...parts, filters });
  }

  /**
   * Makes an engine of a checked bundle. The index, which is the largest part, is checked and
   * loaded off this thread.
   *
   * @throws TandemError ERR_INDEX_INVALID.
   */
  static async open(bundle: Bundle, plan: PlanMode): Promise<Engine> {
    const { directory, manifest, catalogue, vectors, headWeights } = bundle;
    const features = new ContextFeatures(bundle.schema);
    const { schema } = features;
    const index = await planIndex(bundle, plan);
    const head = new (nativeAddon().Head)(headWeights);
    return Engine.#of({
      bundle: { directory, manifest, schema, catalogue, vectors },
      features,
      head,
      index,
    });
  }

  /**
   * An engine of the same bundle with other changes of items. It shares all other parts with this
   * one.
   */
  withItems(overlay: ItemOverlay): Engine {
    return overlay.version === this.items.version ? this : new Engine(this.#core, overlay);
  }

  /** Prepares the engine for another event loop, without its changes of items. */
  share(): SharedEngine {
    const { catalogue, ...rest } = this.bundle;
    return {
      bundle: { ...rest, catalogue: catalogue.parts() },
      features: this.#core.features.parts(),
      head: this.head.share(),
      index: this.index.share(),
    };
  }

  /** Makes an engine of one that another event loop has shared, without loading anything. */
  static attach({ bundle, features, head, index }: SharedEngine): Engine {
    const { catalogue, ...rest } = bundle;
    return Engine.#of({
      bundle: { ...rest, catalogue: ItemCatalogue.of(catalogue) },
      features: new ContextFeatures(features),
      head: new (nativeAddon().Head)(head),
      index: PlannedIndex.attach(index, bundle.vectors),
    });
  }

  /**
   * Resolves the subject of a request.
   *
   * @throws TandemError ERR_UNKNOWN_ITEM for an item that the bundle does not have.
   */
  resolveSubject(subject: RequestSubject | undefined): ResolvedSubject {
    if (subject === undefined) return NO_RESOLVED_SUBJECT;
    const { items } = this;
    const { features } = this.#core;
    let itemRow = -1;
    if (subject.item !== undefined) {
      itemRow = items.row(subject.item);
      // A deleted item is no candidate any more, but a user may still view it.
      if (itemRow < 0) itemRow = items.base.row(subject.item);
      if (itemRow < 0)
        throw new TandemError(
          'ERR_UNKNOWN_ITEM',
          `Expected an item of bundle ${this.bundle.manifest.bundleId.slice(0, 12)} as subject, ` +
            `received "${subject.item}". Give its categories as "interests" instead, or publish ` +
            'a bundle that has it.',
          { details: { field: 'subject.item' } },
        );
    }
    if (!this.usesContext) return { bag: NO_SUBJECT, itemRow, inputRow: -1 };
    if (itemRow >= 0)
      return {
        bag: features.categoryBag(items.categoryRows(itemRow), items.confidences(itemRow)),
        itemRow,
        inputRow: this.usesSubjectItem ? items.baseRow(itemRow) : -1,
      };
    if (subject.interests !== undefined)
      return { bag: features.interestBag(subject.interests), itemRow: -1, inputRow: -1 };
    return { bag: features.queryBag(subject.query ?? ''), itemRow: -1, inputRow: -1 };
  }

  /** Rows of age, country and gender for the head; 0 is unknown. */
  demographicRows(
    demographics: RequestDemographics | undefined,
  ): readonly [number, number, number] {
    if (demographics === undefined || !this.usesContext) return UNKNOWN_DEMOGRAPHICS;
    return this.#core.features.demographicRows(demographics);
  }
}

async function planIndex(bundle: Bundle, plan: PlanMode): Promise<PlannedIndex> {
  const { vectors, indexBytes, manifest } = bundle;
  const width = manifest.model.embeddingWidth;
  const exact = new (nativeAddon().ExactIndex)(vectors, width);
  if (scansAll(exact.size, plan)) exact.addCodes();
  if (plan === 'exact') return new PlannedIndex({ exact, plan });
  const approximate = await openIndex(manifest.index, indexBytes, vectors, width);
  return new PlannedIndex({ exact, approximate, plan });
}
