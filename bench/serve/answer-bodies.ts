// Measures the time to encode an answer and its size, as JSON and as application/x-tandem. Run by
// hand: npx tsx bench/serve/answer-bodies.ts "rows" is the size that the binary form would have
// with catalogue rows instead of ids and an id table at the client.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadBundle } from '../../src/bundle/load.ts';
import { BINARY_CANDIDATES, CANDIDATES } from '../../src/serve/answer/endpoints.ts';
import { Engine } from '../../src/serve/engine/engine.ts';
import { publishTinyBundle } from '../../test/support/tiny-bundle.ts';
import type { AnswerParts } from '../../src/serve/answer/answer-parts.ts';
import type { CandidatesRequest } from '../../src/serve/request/request-types.ts';

const ROUNDS = 9;
const SECONDS_PER_ROUND = 0.3;

const folder = mkdtempSync(join(tmpdir(), 'tandem-bodies-'));
try {
  await publishTinyBundle(folder, { items: 2000 });
  const engine = await Engine.open(await loadBundle(folder), 'exact');
  console.log(
    `${engine.head.isa}, Node ${process.version}; ids of 11 characters; median of ${ROUNDS}`,
  );
  for (const k of [100, 1000]) {
    const parts = partsOf(engine, k);
    const json = CANDIDATES.encode(engine, parts);
    const binary = BINARY_CANDIDATES.encode(engine, parts);
    // The conversion from string to bytes is included; the transport does it when it sends the
    // answer.
    const jsonMicros = microseconds(() => Buffer.from(CANDIDATES.encode(engine, parts)));
    const binaryMicros = microseconds(() => BINARY_CANDIDATES.encode(engine, parts));
    const idBytes = parts.hits.rows.reduce(
      (sum, row) => sum + Buffer.byteLength(engine.bundle.catalogue.id(row)),
      0,
    );
    console.log(
      `k ${k}: json ${jsonMicros.toFixed(1)} us ${Buffer.byteLength(json)} bytes, ` +
        `binary ${binaryMicros.toFixed(1)} us ${binary.byteLength} bytes, ` +
        `rows ${binary.byteLength - idBytes} bytes`,
    );
  }
} finally {
  rmSync(folder, { recursive: true });
}

function partsOf(engine: Engine, k: number): AnswerParts<CandidatesRequest> {
  return {
    request: { kind: 'candidates', user: 'u', surface: 'related', k, explain: false },
    requestId: '00000000-0000-4000-8000-000000000000',
    subject: engine.resolveSubject(undefined),
    filter: undefined,
    state: { status: 'fresh', ageSeconds: 5210 },
    degraded: undefined,
    embedding: new Float32Array(engine.width),
    hits: {
      plan: 'exact',
      planReason: 'forced',
      rows: Int32Array.from({ length: k }, (_, i) => (i * 7) % 2000),
      scores: Float32Array.from({ length: k }, (_, i) => Math.cos(i / k)),
    },
    batchSize: 1,
    stagesMs: {},
  };
}

/** Measures one call: the median of the rounds' means. */
function microseconds(encode: () => unknown): number {
  const means = Array.from({ length: ROUNDS }, () => {
    const startedMs = performance.now();
    let calls = 0;
    while (performance.now() - startedMs < SECONDS_PER_ROUND * 1000)
      for (let i = 0; i < 50; i++, calls++) encode();
    return ((performance.now() - startedMs) * 1000) / calls;
  });
  return means.sort((a, b) => a - b)[ROUNDS >> 1]!;
}
