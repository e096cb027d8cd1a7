import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { loadTrainingState, removeSteps, saveTrainingState } from './checkpoint.ts';

const folder = mkdtempSync(join(tmpdir(), 'tandem-checkpoint-'));
after(() => {
  rmSync(folder, { recursive: true });
});

test('the newest saved state is that of the largest step, also of a million', async () => {
  const weights = new Map([['w', { shape: [1], data: Float32Array.of(1) }]]);
  const parts = { weights, best: weights, moments: weights, validations: [] };
  for (const step of [20, 999_999, 1_000_000, 10_000_000]) {
    await saveTrainingState(folder, { step, ...parts });
    assert.equal(loadTrainingState(folder)!.step, step);
    assert.equal(readdirSync(folder).length, 1);
  }
  removeSteps(folder);
  assert.deepEqual(readdirSync(folder), []);
});
