// What all jobs of the public API have in common.

import type { ProgressListener } from '../telemetry.ts';

/** Options that every job has. */
export interface JobOptions {
  /**
   * Receives the progress of the job. Default: standard error, as a bar on a terminal and as log
   * records elsewhere.
   */
  readonly onProgress?: ProgressListener;
}
