// The job of tandem world: a synthetic ads world becomes a dataset.

import { loadOffline } from '../platform/offline-package.ts';
import { reportProgressTo } from '../telemetry.ts';
import type { WorldOptions, WorldReport } from '../world/generate.ts';
import type { JobOptions } from './job-options.ts';

/**
 * Generates a synthetic ads world (a simulation with known ground truth) and imports it to
 * `outputDirectory`. The same numbers of users and items and the same seed give the same digest.
 *
 * Memory: 29 bytes per item, and one user at a time. Disk: raw files of about 200 bytes per event,
 * which are removed afterwards.
 *
 * @throws TandemError ERR_INVALID_ARGUMENT for a size out of range; as importDataset() otherwise.
 */
export async function generateWorld(options: WorldOptions & JobOptions): Promise<WorldReport> {
  const world = await loadOffline('tandem world', () => import('../world/generate.ts'));
  return reportProgressTo(options.onProgress, () => world.generateWorld(options));
}
