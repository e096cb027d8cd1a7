// Tests how events are counted when the store asks for a history more than once, and which action
// an event without one gets.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { publishTinyBundle, tinyItem } from '../../../test/support/tiny-bundle.ts';
import { loadBundle } from '../../bundle/load.ts';
import type { UserId } from '../../ids.ts';
import { MemoryStore } from '../../store/memory-store.ts';
import { newStateBatch } from '../../store/state-batch.ts';
import type { HistoryChange } from '../../store/store.ts';
import { Engine } from '../engine/engine.ts';
import { ServerMetrics } from '../metrics/metrics.ts';
import { FreshEvents } from './fresh-events.ts';

const folder = mkdtempSync(join(tmpdir(), 'tandem-ingest-'));
after(() => {
  rmSync(folder, { recursive: true });
});

async function engineOf(
  name: string,
  actions?: readonly string[],
): Promise<{ active: Engine; previous: undefined }> {
  const bundles = join(folder, name);
  await publishTinyBundle(bundles, { items: 20, ...(actions && { actions }) });
  return { active: await Engine.open(await loadBundle(bundles), 'auto'), previous: undefined };
}

/** Calls `change` twice, as a Redis does when another server has written the history meanwhile. */
class RetryingStore extends MemoryStore {
  override async changeHistories(userIds: readonly UserId[], change: HistoryChange): Promise<void> {
    const before = await this.readHistories(userIds);
    for (const [i, user] of userIds.entries()) change(user, before[i]);
    await super.changeHistories(userIds, change);
  }
}

test('an event counts once when the store asks for the history again', async () => {
  const served = await engineOf('retries');
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

test('an event without action has the only action of the data, or an unknown one', async () => {
  const event = { user: 'ada', item: tinyItem(1).id, time: 1000 };
  for (const actions of [['event'], ['purchase'], ['click', 'purchase']]) {
    const served = await engineOf(actions.join('-'), actions);
    const { encoderId, width } = served.active;
    const ingest = async (store: MemoryStore, action?: string): Promise<unknown> => {
      const events = new FreshEvents({ served }, store, new ServerMetrics());
      const { accepted } = await events.ingest([{ ...event, ...(action && { action }) }]);
      const states = newStateBatch(1, width);
      store.read(encoderId, ['ada' as UserId], states);
      const [history] = await store.readHistories(['ada' as UserId]);
      return [accepted, history!.events.map(({ action: stored }) => stored), [...states.states]];
    };
    const [store, other] = [new MemoryStore(), new MemoryStore()];
    const first = await ingest(store);
    const named = (await ingest(other, actions[0])) as unknown[];
    if (actions.length === 1) assert.deepEqual(first, named);
    else assert.notDeepEqual(first, named);
    // When the data bring the action, the event is still one.
    const [, ...stored] = named;
    assert.deepEqual(await ingest(store, actions[0]), [0, ...stored]);
  }
});
