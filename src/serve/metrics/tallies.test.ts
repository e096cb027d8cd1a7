import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { AggregatorRegistry, Counter, Histogram, Registry } from 'prom-client';
import { TallyCounter, TallyHistogram } from './tallies.ts';

const ABOUT = { name: 'tandem_test', help: 'What is tested.' };
const BUCKETS = [0.001, 0.1, 1, 10];
const value = fc.oneof(fc.constantFrom(0, ...BUCKETS), fc.double({ min: 0, max: 20, noNaN: true }));
const label = fc.constantFrom('a', 'b "quoted"', 'c\\d\n');

/** Compares scrapes of both registries, alone and aggregated over two event loops. */
async function assertSame(received: Registry, expected: Registry): Promise<void> {
  assert.equal(await received.metrics(), await expected.metrics());
  const [ours, theirs] = await Promise.all(
    [received, expected].map(async (registry) => {
      const loops = [await registry.getMetricsAsJSON(), await registry.getMetricsAsJSON()];
      return AggregatorRegistry.aggregate(loops).metrics();
    }),
  );
  assert.equal(ours, theirs);
}

test('a scrape of a tallied histogram is the same as of prom-client', async () => {
  const observations = fc.array(fc.tuple(label, label, value), { minLength: 1 });
  await fc.assert(
    fc.asyncProperty(observations, async (observed) => {
      const [registry, expected] = [new Registry(), new Registry()];
      const labelled = { ...ABOUT, buckets: BUCKETS, labelNames: ['x', 'y'] as const };
      const whole = { ...ABOUT, name: 'tandem_whole', buckets: BUCKETS };
      const tallied = new TallyHistogram({ ...labelled, registry });
      const series = new TallyHistogram({ ...whole, registry }).series();
      const other = new Histogram({ ...labelled, registers: [expected] });
      const otherWhole = new Histogram({ ...whole, registers: [expected] });
      for (const [x, y, seen] of observed) {
        tallied.series(x, y).observe(seen);
        series.observe(seen);
        other.observe({ x, y }, seen);
        otherWhole.observe(seen);
      }
      await assertSame(registry, expected);

      registry.resetMetrics();
      series.observe(2);
      assert.match(await registry.metrics(), /^tandem_whole_sum 2$/m);
      assert.match(await registry.metrics(), /^tandem_whole_count 1$/m);
    }),
    { numRuns: 30 },
  );
});

test('a scrape of a tallied counter is the same as of prom-client', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.tuple(label, fc.nat(9)), { minLength: 1 }), async (counts) => {
      const [registry, expected] = [new Registry(), new Registry()];
      const tallied = new TallyCounter({ ...ABOUT, label: 'x', registry });
      const other = new Counter({ ...ABOUT, labelNames: ['x'], registers: [expected] });
      for (const [x, by] of counts) {
        tallied.inc(x, by);
        other.inc({ x }, by);
      }
      await assertSame(registry, expected);
      registry.resetMetrics();
      assert.doesNotMatch(await registry.metrics(), /^tandem_test/m);
    }),
    { numRuns: 30 },
  );
});
