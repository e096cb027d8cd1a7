// Loads the model of a published bundle on tfjs, for batch jobs. The server's head and index were
// made from the same weights.

import type { BackendName } from '../backend/backends.ts';
import { useBackend } from '../backend/select.ts';
import { catalogueItemFeatures } from '../bundle/weights/item-features.ts';
import type { Bundle } from '../bundle/load.ts';
import { TwoTower, type WeightMap } from './network/two-tower.ts';

/**
 * Loads the model of a bundle. The caller disposes it.
 *
 * @param backend - the tfjs backend; `native` when absent.
 * @throws TandemError ERR_BACKEND_UNAVAILABLE; ERR_CHECKPOINT_INVALID as the constructor of
 *   TwoTower does.
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
