// Asks for candidates in this process, without a server.
// Usage: node examples/embed.mjs [BUNDLES [STORE]]

import { fileURLToPath } from 'node:url';
import { CandidateGenerator, MemoryStore, TandemError } from 'tandem';

const tiny = fileURLToPath(new URL('../models/tiny', import.meta.url));
const [bundles = tiny, store = new MemoryStore()] = process.argv.slice(2);
const generator = await CandidateGenerator.open({ bundles, store });
try {
  // Requests that are made together share a micro-batch.
  const [first, second] = await Promise.all([
    generator.candidates({ user: 'u1', surface: 'search', subject: { query: 'red shoes' }, k: 3 }),
    generator.candidates({ user: 'u1', surface: 'related', k: 3 }),
  ]);
  for (const { state, plan, candidates } of [first, second])
    console.log(JSON.stringify({ state: state.status, plan, candidates }));

  // The vector of an item times the query embedding is its score.
  const { embedding } = await generator.embedding({ user: 'u1', surface: 'related' });
  console.log(JSON.stringify({ width: embedding.length }));

  await generator.candidates({ user: 'u1', surface: 'related', subject: { item: 'unknown' } });
} catch (error) {
  if (!(error instanceof TandemError)) throw error;
  console.log(JSON.stringify({ error: error.code, message: error.message }));
} finally {
  await generator.close();
}
