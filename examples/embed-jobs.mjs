// Runs every job in this process, from generated data to candidates for a user.
// Usage: node examples/embed-jobs.mjs FOLDER

import { join } from 'node:path';
import {
  CandidateGenerator,
  encodeUsers,
  evaluate,
  generateWorld,
  openStore,
  publish,
  train,
  verifyBundle,
} from 'tandem';

const folder = process.argv[2] ?? 'embed-jobs';
const dataset = join(folder, 'dataset');
const checkpoint = join(folder, 'run');
const bundles = join(folder, 'bundles');
/** Receives the progress of all jobs. Without it, progress goes to standard error. */
const onProgress = ({ job, done, total, unit }) => {
  if (done === total) console.error(`${job}: ${done} ${unit}`);
};

// Your own data: importDataset({ manifestPath, outputDirectory, onProgress }).
const world = { users: 60, items: 1000, seed: 1 };
const { counts } = await generateWorld({ ...world, outputDirectory: dataset, onProgress });
const settings = { steps: 10, validateEvery: 10, usersPerStep: 16 };
const { bestStep } = await train({ dataset, checkpoint, settings, onProgress });
const { rows } = await evaluate({ dataset, checkpoints: [checkpoint], onProgress });
const { bundleId } = await publish({ checkpoint, bundles, onProgress });
const { passed } = await verifyBundle(bundles);

const store = await openStore(join(folder, 'store'));
const { encoded } = await encodeUsers({ dataset, bundles, store, onProgress });
const generator = await CandidateGenerator.open({ bundles, store });
const user = 'user-00000001';
const { state, candidates } = await generator.candidates({ user, surface: 'related', k: 5 });
await generator.close();
await store.close();

console.log(
  JSON.stringify({
    events: counts.events,
    bestStep,
    rows: rows.length,
    bundleId,
    passed,
    encoded,
    state: state.status,
    candidates: candidates.map(({ item }) => item),
  }),
);
