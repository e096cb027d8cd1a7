// Engine: one bundle made ready to answer. It knows ids, features, head and index; it knows nothing of users or HTTP.

import { ItemCatalogue, type CatalogueParts } from '../bundle/catalogue.ts';
import type { Bundle } from '../bundle/load.ts';
import { TandemError } from '../errors.ts';
import { ContextFeatures, NO_SUBJECT, type SubjectBag } from '../features/context.ts';
import type { EncoderId } from '../ids.ts';
import { nativeAddon, type NativeHead, type Ticket } from '../native/binding.ts';
import { openIndex } from '../retrieval/approximate-index.ts';
import { PlannedIndex, type PlanMode, type SharedPlan } from '../retrieval/plan.ts';
import { FilterCompiler } from './filters.ts';
import type { RequestDemographics, RequestSubject } from './schemas.ts';

/** What a subject is to the head, and which row must not come back as its own candidate. */
export interface ResolvedSubject {
  readonly bag: SubjectBag;
  /** Catalogue row when the subject is an item, else -1. */
  readonly itemRow: number;
}

const NOTHING: ResolvedSubject = { bag: NO_SUBJECT, itemRow: -1 };
const UNKNOWN: readonly [number, number, number] = [0, 0, 0];

/** What of a bundle is read for as long as it is served; head and index have their own copies of the rest. */
export type ServedBundle = Pick<
  Bundle,
  'directory' | 'manifest' | 'schema' | 'catalogue' | 'vectors'
>;

/** An engine on its way to another event loop, good for one: Engine.attach(). Weights, vectors and index are there once. */
export interface SharedEngine {
  readonly bundle: Omit<ServedBundle, 'catalogue'> & { readonly catalogue: CatalogueParts };
  readonly head: Ticket<NativeHead>;
  readonly index: SharedPlan;
}

export class Engine {
  readonly bundle: ServedBundle;
  readonly encoderId: EncoderId;
  readonly head: NativeHead;
  readonly index: PlannedIndex;
  readonly filters: FilterCompiler;
  /** D. */
  readonly width: number;
  /** False for fusion "none": subject and demographics of a request change nothing. */
  readonly usesContext: boolean;
  /** The head reads the item in view itself, besides its categories. */
  readonly usesSubjectItem: boolean;
  readonly #features: ContextFeatures;
  readonly #itemJson: (string | undefined)[];

  private constructor(bundle: ServedBundle, head: NativeHead, index: PlannedIndex) {
    const { manifest, schema, catalogue } = bundle;
    this.head = head;
    this.bundle = bundle;
    this.encoderId = manifest.encoderId as EncoderId;
    this.width = manifest.model.embeddingWidth;
    this.usesContext = manifest.model.fusion !== 'none';
    this.usesSubjectItem = this.usesContext && manifest.model.subjectItem;
    this.index = index;
    this.filters = new FilterCompiler(catalogue, schema.categories);
    this.#features = new ContextFeatures(schema);
    this.#itemJson = new Array<string | undefined>(catalogue.count);
  }

  /**
   * Makes a checked bundle ready; the index, the largest part, is checked and loaded off this thread.
   *
   * @throws TandemError ERR_INDEX_INVALID.
   */
  static async open(bundle: Bundle, plan: PlanMode): Promise<Engine> {
    const { directory, manifest, schema, catalogue, vectors, headWeights } = bundle;
    const index = await planIndex(bundle, plan);
    const head = new (nativeAddon().Head)(headWeights);
    return new Engine({ directory, manifest, schema, catalogue, vectors }, head, index);
  }

  share(): SharedEngine {
    const { catalogue, ...rest } = this.bundle;
    return {
      bundle: { ...rest, catalogue: catalogue.parts() },
      head: this.head.share(),
      index: this.index.share(),
    };
  }

  /** What another event loop shares, at once. */
  static attach({ bundle, head, index }: SharedEngine): Engine {
    const { catalogue, ...rest } = bundle;
    return new Engine(
      { ...rest, catalogue: ItemCatalogue.of(catalogue) },
      new (nativeAddon().Head)(head),
      PlannedIndex.attach(index, bundle.vectors),
    );
  }

  /** The id of an item as JSON; kept, because escaping 100 ids an answer was a tenth of the time of one. */
  itemJson(row: number): string {
    return (this.#itemJson[row] ??= JSON.stringify(this.bundle.catalogue.id(row)));
  }

  /** @throws TandemError ERR_UNKNOWN_ITEM. */
  resolveSubject(subject: RequestSubject | undefined): ResolvedSubject {
    if (subject === undefined) return NOTHING;
    const { catalogue } = this.bundle;
    let itemRow = -1;
    if (subject.item !== undefined) {
      itemRow = catalogue.row(subject.item);
      if (itemRow < 0)
        throw new TandemError(
          'ERR_UNKNOWN_ITEM',
          `Expected an item of bundle ${this.bundle.manifest.bundleId.slice(0, 12)} as subject, received "${subject.item}". Give its categories as "interests" instead, or publish a bundle that has it.`,
          { details: { field: 'subject.item' } },
        );
    }
    if (!this.usesContext) return { bag: NO_SUBJECT, itemRow };
    if (itemRow >= 0)
      return {
        bag: this.#features.categoryBag(
          catalogue.categoryRows(itemRow),
          catalogue.confidences(itemRow),
        ),
        itemRow,
      };
    if (subject.interests !== undefined)
      return { bag: this.#features.interestBag(subject.interests), itemRow };
    return { bag: this.#features.queryBag(subject.query ?? ''), itemRow };
  }

  demographicRows(
    demographics: RequestDemographics | undefined,
  ): readonly [number, number, number] {
    if (demographics === undefined || !this.usesContext) return UNKNOWN;
    return this.#features.demographicRows(demographics);
  }
}

async function planIndex(bundle: Bundle, plan: PlanMode): Promise<PlannedIndex> {
  const { vectors, indexBytes, manifest } = bundle;
  const width = manifest.model.embeddingWidth;
  const exact = new (nativeAddon().ExactIndex)(vectors, width);
  if (plan === 'exact') return new PlannedIndex({ exact, plan });
  const approximate = await openIndex(manifest.index, indexBytes, vectors, width);
  return new PlannedIndex({ exact, approximate, plan });
}
