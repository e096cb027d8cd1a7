// The model of a published bundle, for batch jobs: the same weights that the server's head and index come from.

import type { BackendName } from '../backend/backends.ts';
import { useBackend } from '../backend/select.ts';
import { catalogueItemFeatures } from '../bundle/weights/item-features.ts';
import type { Bundle } from '../bundle/load.ts';
import { TwoTower, type WeightMap } from './network/two-tower.ts';

export type { BackendName };

/**
 * @param backend - of tfjs; `native` when absent.
 * @returns the model on it; the caller disposes it.
 * @throws TandemError ERR_BACKEND_UNAVAILABLE; what TwoTower throws.
 */
export async function loadBundleModel(bundle: Bundle, backend?: BackendName): Promise<TwoTower> {
  await useBackend(backend);
  return new TwoTower(
    bundle.manifest.model,
    bundle.schema,
    catalogueItemFeatures(bundle.schema, bundle.catalogue),
    bundle.tensors() as WeightMap,
  );
}
