// The model of a published bundle, for batch jobs: the same weights that the server's head and index come from.

import { useBackend } from '../backend/select.ts';
import { catalogueItemFeatures } from '../bundle/item-features.ts';
import type { Bundle } from '../bundle/load.ts';
import { TwoTower, type WeightMap } from './two-tower.ts';

/** @returns the model on the default tfjs backend; the caller disposes it. @throws what TwoTower throws. */
export async function loadBundleModel(bundle: Bundle): Promise<TwoTower> {
  await useBackend();
  return new TwoTower(
    bundle.manifest.model,
    bundle.schema,
    catalogueItemFeatures(bundle.schema, bundle.catalogue),
    bundle.tensors() as WeightMap,
  );
}
