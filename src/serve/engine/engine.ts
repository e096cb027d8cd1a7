// Engine: one bundle made ready to answer. It knows ids, features, head and index; it knows nothing of users or HTTP.

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
import { nativeAddon, type NativeHead, type Ticket } from '../../native/binding.ts';
import { openIndex } from '../../retrieval/approximate-index.ts';
import { PlannedIndex, scansAll, type PlanMode, type SharedPlan } from '../../retrieval/plan.ts';
import { FilterCompiler } from './filters.ts';
import { LiveItems, type ItemOverlay } from './live-items.ts';
import type { RequestDemographics, RequestSubject } from '../request/request-types.ts';

/** What a subject is to the head, and which row must not come back as its own candidate. */
export interface ResolvedSubject {
  readonly bag: SubjectBag;
  /** Row of LiveItems when the subject is an item, else -1. */
  readonly itemRow: number;
  /** The row that the head reads of it: -1 where it reads none, or the bundle's weights do not know the item. */
  readonly inputRow: number;
}

const NOTHING: ResolvedSubject = { bag: NO_SUBJECT, itemRow: -1, inputRow: -1 };
const UNKNOWN: readonly [number, number, number] = [0, 0, 0];

/** What of a bundle is read for as long as it is served; head and index have their own copies of the rest. */
export type ServedBundle = Pick<Bundle, 'directory' | 'manifest' | 'catalogue' | 'vectors'> & {
  readonly schema: CompactSchema;
};

/** An engine on its way to another event loop, good for one: Engine.attach(). Weights, vectors and index are there once. */
export interface SharedEngine {
  readonly bundle: Omit<ServedBundle, 'catalogue'> & { readonly catalogue: CatalogueParts };
  readonly features: ContextParts;
  readonly head: Ticket<NativeHead>;
  readonly index: SharedPlan;
}

/** What the engines of one bundle have in common, whatever became of its items. */
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
  /** As requests see them. */
  readonly items: LiveItems;
  /** D. */
  readonly width: number;
  /** False for fusion "none": subject and demographics of a request change nothing. */
  readonly usesContext: boolean;
  /** The head reads the item in view itself, besides its categories. */
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

  static #of(parts: Pick<EngineCore, 'bundle' | 'head' | 'index' | 'features'>): Engine {
    const { catalogue, schema } = parts.bundle;
    return new Engine({
      ...parts,
      filters: new FilterCompiler(catalogue, schema.categories),
    });
  }

  /**
   * Makes a checked bundle ready; the index, the largest part, is checked and loaded off this thread.
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
      ...{ features, head, index },
    });
  }

  /** This engine with other items; it shares everything else, also what is found out later. */
  withItems(overlay: ItemOverlay): Engine {
    return overlay.version === this.items.version ? this : new Engine(this.#core, overlay);
  }

  /** Without what became of the items after the bundle was published. */
  share(): SharedEngine {
    const { catalogue, ...rest } = this.bundle;
    return {
      bundle: { ...rest, catalogue: catalogue.parts() },
      features: this.#core.features.parts(),
      head: this.head.share(),
      index: this.index.share(),
    };
  }

  /** What another event loop shares, at once. */
  static attach({ bundle, features, head, index }: SharedEngine): Engine {
    const { catalogue, ...rest } = bundle;
    return Engine.#of({
      bundle: { ...rest, catalogue: ItemCatalogue.of(catalogue) },
      features: new ContextFeatures(features),
      head: new (nativeAddon().Head)(head),
      index: PlannedIndex.attach(index, bundle.vectors),
    });
  }

  /** @throws TandemError ERR_UNKNOWN_ITEM. */
  resolveSubject(subject: RequestSubject | undefined): ResolvedSubject {
    if (subject === undefined) return NOTHING;
    const { items } = this;
    const { features } = this.#core;
    let itemRow = -1;
    if (subject.item !== undefined) {
      itemRow = items.row(subject.item);
      // What was deleted is no candidate any more, but may be in view still.
      if (itemRow < 0) itemRow = items.base.row(subject.item);
      if (itemRow < 0)
        throw new TandemError(
          'ERR_UNKNOWN_ITEM',
          `Expected an item of bundle ${this.bundle.manifest.bundleId.slice(0, 12)} as subject, received "${subject.item}". Give its categories as "interests" instead, or publish a bundle that has it.`,
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
      return { ...NOTHING, bag: features.interestBag(subject.interests) };
    return { ...NOTHING, bag: features.queryBag(subject.query ?? '') };
  }

  demographicRows(
    demographics: RequestDemographics | undefined,
  ): readonly [number, number, number] {
    if (demographics === undefined || !this.usesContext) return UNKNOWN;
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
