// All rows, in the order in which they run and are printed.

import { ABORTS } from './aborts.ts';
import { BUNDLE_CORRUPTION } from './bundle-corruption.ts';
import { DISK_FULL } from './disk-full.ts';
import { FUZZ } from './fuzz.ts';
import { KILLS } from './kills.ts';
import { MIXED_VERSIONS } from './mixed-versions.ts';
import { NON_FINITE } from './non-finite.ts';
import { OVERLOAD } from './overload.ts';
import type { Row } from './row.ts';
import { SANITIZERS } from './sanitizers.ts';
import { SECRETS } from './secrets.ts';
import { STEADY_MEMORY } from './steady-memory.ts';
import { STORE_OUTAGE } from './store-outage.ts';
import { SWAPS } from './swaps.ts';

export const ROWS: readonly Row[] = [
  BUNDLE_CORRUPTION,
  NON_FINITE,
  KILLS,
  ABORTS,
  STORE_OUTAGE,
  MIXED_VERSIONS,
  SWAPS,
  DISK_FULL,
  OVERLOAD,
  STEADY_MEMORY,
  FUZZ,
  SECRETS,
  SANITIZERS,
];
