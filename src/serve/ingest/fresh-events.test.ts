// Tests how events are counted when the store asks for a history more than once.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { publishTinyBundle, tinyItem } from '../../../test/support/tiny-bundle.ts';
import { loadBundle } from '../../bundle/load.ts';
import type { UserId } from '../../ids.ts';
import { MemoryStore } from '../../store/memory-store.ts';
import type { HistoryChange } from '../../store/store.ts';
import { Engine } from '../engine/engine.ts';
import { ServerMetrics } from '../metrics/metrics.ts';
import { FreshEvents } from './fresh-events.ts';

const folder = mkdtempSync(join(tmpdir(), 'tandem-ingest-'));
after(() => {
  rmSync(folder, { recursive: true });
});

/** Calls `change` twice, as a Redis does when another server has written the history meanwhile. */
class RetryingStore extends MemoryStore {
  override async changeHistories(userIds: readonly UserId[], change: HistoryChange): Promise<void> {
    const before = await this.readHistories(userIds);
    for (const [i, user] of userIds.entries()) change(user, before[i]);
    await super.changeHistories(userIds, change);
  }
}

test('an event counts once when the store asks for the history again', async () => {
  const bundles = join(folder, 'bundles');
  await publishTinyBundle(bundles, { items: 20 });
  const active = await Engine.open(await loadBundle(bundles), 'auto');
  const served = { active, previous: undefined };
  const events = new FreshEvents({ served }, new RetryingStore(), new ServerMetrics());
  const batch = [
    { user: 'ada', item: tinyItem(1).id, time: 1000 },
    { user: 'ada', item: tinyItem(2).id, time: 2000 },
    { user: 'ben', item: tinyItem(1).id, time: 3000 },
  ];
  const first = await events.ingest(batch);
  assert.deepEqual([first.accepted, first.duplicates], [3, 0]);
  const again = await events.ingest(batch);
  assert.deepEqual([again.accepted, again.duplicates], [0, 3]);
});
