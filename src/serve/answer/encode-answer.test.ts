// Scores are printed by hand, so that an answer's JSON costs less than finding what is in it.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { writeScore } from './encode-answer.ts';
import { TextWriter } from '../engine/text-writer.ts';

test('a score is JSON of its six decimals, whatever it is', () => {
  const scores = fc.oneof(
    fc.float({ min: -1.5, max: 1.5, noNaN: true }),
    fc.integer({ min: -1_000_001, max: 1_000_001 }).map((millionths) => millionths / 1e6),
    fc.constantFrom(0, -0, 1, -1, 1e-7, -1e-7, 0.9999996, -0.9999996, 12345.678),
  );
  fc.assert(
    fc.property(scores, (score) => {
      const out = new TextWriter();
      writeScore(score, out);
      const shown: unknown = JSON.parse(out.toString());
      assert.ok(shown === Math.round(score * 1e6) / 1e6, `${score} as ${String(shown)}`);
    }),
    { numRuns: 2000 },
  );
});
