// The job of tandem import: source files become a dataset.

import type { ImportOptions, ImportReport } from '../data/import.ts';
import { loadOffline } from '../platform/offline-package.ts';
import { reportProgressTo } from '../telemetry.ts';
import type { JobOptions } from './job-options.ts';

/**
 * Imports CSV, NDJSON or Parquet files into the dataset `outputDirectory`. A failed import leaves
 * the directory as it was.
 *
 * The same source gives the same digest. Bad rows are left out, counted by reason and sampled in
 * the report.
 *
 * @throws TandemError ERR_DATASET_NOT_FOUND for a missing file; ERR_DATASET_INVALID for a wrong
 *   manifest, column or file, for a source without events, and for an output directory that is not
 *   a dataset or holds another one; ERR_INVALID_ARGUMENT for more than one source;
 *   ERR_PACKAGE_MISSING without tandem-offline.
 */
export async function importDataset(options: ImportOptions & JobOptions): Promise<ImportReport> {
  const data = await loadOffline('tandem import', () => import('../data/import.ts'));
  return reportProgressTo(options.onProgress, () => data.importDataset(options));
}
