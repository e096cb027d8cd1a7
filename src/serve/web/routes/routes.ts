// The table of routes of the public port, in the order of /openapi.json.

import { CANDIDATE_ROUTES } from './candidates.ts';
import { EVENT_ROUTES } from './events.ts';
import { ITEM_ROUTES } from './items.ts';
import { KSERVE_ROUTES } from './kserve.ts';
import { MONITORING_ROUTES } from './monitoring.ts';
import type { Route } from './route.ts';
import { STREAM_ROUTE } from './stream.ts';

export const ROUTES: readonly Route[] = [
  ...CANDIDATE_ROUTES,
  ...EVENT_ROUTES,
  ...ITEM_ROUTES,
  STREAM_ROUTE,
  ...MONITORING_ROUTES,
  ...KSERVE_ROUTES,
];
