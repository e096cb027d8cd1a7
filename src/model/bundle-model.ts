// The model of a published bundle, for batch jobs. Its weights are those of the server's head and
// index.

import type { BackendName } from '../backend/backends.ts';
import { useBackend } from '../backend/select.ts';
import { catalogueItemFeatures } from '../bundle/weights/item-features.ts';
import type { Bundle } from '../bundle/load.ts';
import { TwoTower, type WeightMap } from './network/two-tower.ts';

/** Exported again for encode/, which does not import backend/. */
export type { BackendName };

/**
 * Loads the model of a bundle. The caller disposes it.
 *
 * @param backend - of tfjs; `native` when absent.
 * @throws TandemError ERR_BACKEND_UNAVAILABLE; the errors of TwoTower.
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
