// Decides the seed of all property tests (fast-check), so that a test run has the same verdict on
// every machine. The variable TANDEM_PROPERTY_SEED chooses another seed: a number, or "fresh" for a
// random one, which is printed so that a failure can be repeated.
import fc from 'fast-check';

const COMMITTED_SEED = 20261201;
const given = process.env.TANDEM_PROPERTY_SEED ?? String(COMMITTED_SEED);
const seed = given === 'fresh' ? Math.floor(Math.random() * 2 ** 31) : Number(given);
if (!Number.isInteger(seed))
  throw new Error(`Expected an integer or "fresh" for TANDEM_PROPERTY_SEED, received "${given}".`);
if (given === 'fresh')
  console.log(`# property tests: repeat these with TANDEM_PROPERTY_SEED=${seed}`);
fc.configureGlobal({ seed });
