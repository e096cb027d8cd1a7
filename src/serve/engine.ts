// Engine: one bundle made ready to answer. It knows ids, features, head and index; it knows nothing of users or HTTP.

import type { Bundle } from '../bundle/load.ts';
import { replayGoldens } from '../bundle/verify.ts';
import { TandemError } from '../errors.ts';
import { ContextFeatures, NO_SUBJECT, type SubjectBag } from '../features/context.ts';
import type { EncoderId } from '../ids.ts';
import { nativeAddon, type NativeHead } from '../native/binding.ts';
import { openIndex } from '../retrieval/approximate-index.ts';
import { PlannedIndex, type PlanMode } from '../retrieval/plan.ts';
import { FilterCompiler } from './filters.ts';
import type { RequestDemographics, RequestSubject } from './schemas.ts';

/** What a subject is to the head, and which row must not come back as its own candidate. */
export interface ResolvedSubject {
  readonly bag: SubjectBag;
  /** Catalogue row when the subject is an item, else -1. */
  readonly itemRow: number;
}

/** Printable ASCII without quote and backslash. */
const PLAIN_JSON = /^[ !#-[\]-~]*$/;
const NOTHING: ResolvedSubject = { bag: NO_SUBJECT, itemRow: -1 };
const UNKNOWN: readonly [number, number, number] = [0, 0, 0];

/** What of a bundle is read for as long as it is served. */
export type ServedBundle = Omit<Bundle, 'headWeights'>;

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
  /** Whether every item id is its own JSON: escaping 100 ids an answer was a tenth of the time of one. */
  readonly #plainIds: boolean;
  #byPopularity: Int32Array | undefined;

  /**
   * Loads head and index and replays the bundle's golden requests.
   *
   * @throws TandemError ERR_BUNDLE_INVALID when an answer differs from what training computed; ERR_INDEX_INVALID.
   */
  constructor(bundle: Bundle, plan: PlanMode) {
    const { headWeights, ...served } = bundle;
    const { manifest, schema, catalogue } = served;
    this.head = new (nativeAddon().Head)(headWeights);
    checkGoldens(bundle, this.head);
    this.bundle = served;
    this.encoderId = manifest.encoderId as EncoderId;
    this.width = manifest.model.embeddingWidth;
    this.usesContext = manifest.model.fusion !== 'none';
    this.usesSubjectItem = this.usesContext && manifest.model.subjectItem;
    this.index = planIndex(bundle, plan);
    this.filters = new FilterCompiler(catalogue, schema.categories);
    this.#features = new ContextFeatures(schema);
    this.#plainIds = catalogue.ids.every((id) => PLAIN_JSON.test(id));
  }

  /** Every row, the most popular first; made on first use. */
  byPopularity(): Int32Array {
    const { popularity, count } = this.bundle.catalogue;
    return (this.#byPopularity ??= Int32Array.from({ length: count }, (_, row) => row).sort(
      (a, b) => popularity[b]! - popularity[a]! || a - b,
    ));
  }

  /** The id of an item as JSON. */
  itemJson(row: number): string {
    const id = this.bundle.catalogue.ids[row]!;
    return this.#plainIds ? `"${id}"` : JSON.stringify(id);
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

function planIndex(bundle: Bundle, plan: PlanMode): PlannedIndex {
  const { vectors, indexBytes, manifest } = bundle;
  const width = manifest.model.embeddingWidth;
  const exact = new (nativeAddon().ExactIndex)(vectors, width);
  if (plan === 'exact') return new PlannedIndex({ exact, plan });
  const approximate = openIndex(manifest.index, indexBytes, vectors, width);
  return new PlannedIndex({ exact, approximate, plan });
}

/** A bundle that this build answers differently than training did would give plausible, wrong candidates. */
function checkGoldens(bundle: Bundle, head: NativeHead): void {
  const { failures, isa } = replayGoldens(bundle, head);
  if (failures.length === 0) return;
  const { bundleId } = bundle.manifest;
  throw new TandemError(
    'ERR_BUNDLE_INVALID',
    `Expected bundle ${bundleId.slice(0, 12)} to give its golden answers on ISA ${isa}, but ${failures.length} differ; ${failures[0]!}. ` +
      'Run "tandem verify" for all of them, or publish the bundle again with this version.',
    { details: { bundleId, failures } },
  );
}
