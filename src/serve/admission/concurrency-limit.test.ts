// The limit against a simulated server with a simulated clock, so no result depends on the machine.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ConcurrencyLimit, type LimitBounds } from './concurrency-limit.ts';

const BATCH = 64;
const BOUNDS: LimitBounds = { min: 8, max: 4096, start: 256, batch: BATCH, burst: BATCH / 2 };

interface Load {
  readonly seconds: number;
  readonly requestsPerSecond: number;
  /** A micro-batch runs for fixedMs + eachMs x requests. */
  readonly fixedMs: number;
  readonly eachMs: number;
  /** Once a second the server stops for so long, like a process that gets no CPU. */
  readonly stallMs?: number;
}

interface Outcome {
  readonly answered: number;
  /** Includes the first second. */
  readonly refused: number;
  readonly worstMs: number;
  /** The worst latency of the first second, which `answered` and `worstMs` leave out. */
  readonly worstAtFirstMs: number;
}

/** One event loop. Requests arrive evenly, and it refuses those over the limit. */
class SimulatedServer {
  readonly limit: ConcurrencyLimit;
  #nowMs = 1e6;
  #arrivedAtMs: number[] = [];

  constructor(bounds: LimitBounds = BOUNDS) {
    this.limit = new ConcurrencyLimit(bounds);
  }

  /** The limit may still adapt in the first second, so only later answers count. */
  run({ seconds, requestsPerSecond, fixedMs, eachMs, stallMs = 0 }: Load): Outcome {
    const startMs = this.#nowMs;
    let stalls = 0;
    let arrivals = 0;
    let refused = 0;
    let allRefused = 0;
    let answered = 0;
    let worstMs = 0;
    let worstAtFirstMs = 0;
    while (this.#nowMs < startMs + seconds * 1000) {
      if (this.#nowMs - startMs >= 1000 * (stalls + 1)) {
        stalls += 1;
        this.#nowMs += stallMs;
      }
      for (; ; arrivals++) {
        const atMs = startMs + (arrivals / requestsPerSecond) * 1000;
        if (atMs > this.#nowMs) break;
        if (this.#arrivedAtMs.length < this.limit.limit) this.#arrivedAtMs.push(this.#nowMs);
        else {
          refused++;
          allRefused++;
        }
      }
      const open = this.#arrivedAtMs.length;
      const batch = this.#arrivedAtMs.splice(0, BATCH);
      if (batch.length === 0) {
        this.#nowMs += 1;
        continue;
      }
      const waitMs = this.#nowMs - batch[0]!;
      const runMs = fixedMs + eachMs * batch.length;
      this.#nowMs += runMs;
      this.limit.observe({ requests: batch.length, waitMs, runMs, open, refused }, this.#nowMs);
      refused = 0;
      if (this.#nowMs < startMs + 1000) {
        worstAtFirstMs = Math.max(worstAtFirstMs, waitMs + runMs);
        continue;
      }
      answered += batch.length;
      worstMs = Math.max(worstMs, waitMs + runMs);
    }
    return { answered, refused: allRefused, worstMs, worstAtFirstMs };
  }
}

const speed = fc.record({
  fixedMs: fc.double({ min: 0.5, max: 10, noNaN: true }),
  eachMs: fc.double({ min: 0.05, max: 1, noNaN: true }),
});

function capacityOf({ fixedMs, eachMs }: { fixedMs: number; eachMs: number }): number {
  return (BATCH / (fixedMs + BATCH * eachMs)) * 1000;
}

test('under any overload latency stays near its baseline, and the server stays busy', () => {
  fc.assert(
    fc.property(
      speed,
      fc.double({ min: 1.5, max: 10, noNaN: true }),
      fc.integer({ min: BATCH, max: 4096 }),
      (cost, overload, start) => {
        const server = new SimulatedServer({ ...BOUNDS, start });
        const capacity = capacityOf(cost);
        const seconds = 20;
        server.run({ ...cost, seconds, requestsPerSecond: overload * capacity });
        const { answered, worstMs } = server.run({
          ...cost,
          seconds,
          requestsPerSecond: overload * capacity,
        });
        const fullMs = cost.fixedMs + BATCH * cost.eachMs;
        // Twice the baseline is tolerated. The growth of an interval and a half-full micro-batch
        // come on top.
        assert.ok(worstMs <= Math.max(5, 2 * fullMs) + 2 * fullMs, `${worstMs} of ${fullMs} ms`);
        assert.ok(answered >= 0.9 * capacity * (seconds - 1), `${answered} of ${capacity}/s`);
      },
    ),
    { numRuns: 100 },
  );
});

/**
 * A server on which answering together gains next to nothing, and a load that is too much for it.
 * The server has answered single requests before, so it knows how long one takes.
 */
function calmWithoutGain(
  eachMs: number,
  overload: number,
): { server: SimulatedServer; capacity: number; load: Omit<Load, 'seconds'> } {
  const server = new SimulatedServer();
  const cost = { fixedMs: eachMs / 10, eachMs };
  const capacity = capacityOf(cost);
  server.run({ ...cost, seconds: 5, requestsPerSecond: 0.05 * capacity });
  return { server, capacity, load: { ...cost, requestsPerSecond: overload * capacity } };
}

test('if answering together gains nothing, no micro-batch becomes a queue', () => {
  fc.assert(
    fc.property(
      fc.double({ min: 0.05, max: 1, noNaN: true }),
      fc.double({ min: 1.5, max: 10, noNaN: true }),
      (eachMs, overload) => {
        const { server, capacity, load } = calmWithoutGain(eachMs, overload);
        server.run({ ...load, seconds: 20 });
        const { answered, worstMs } = server.run({ ...load, seconds: 20 });
        // Wait and run of the micro-batch that the limit allows, and growth during an interval.
        assert.ok(worstMs <= 2 * Math.max(5, BOUNDS.min * eachMs) + 20 * eachMs, `${worstMs} ms`);
        assert.ok(answered >= 0.9 * capacity * 19, `${answered} of ${capacity}/s`);
        // Two together have nearly the highest throughput.
        assert.ok(server.limit.limit <= BOUNDS.min, `${server.limit.limit} open requests`);
      },
    ),
    { numRuns: 100 },
  );
});

test('micro-batches become large enough, from above and below, and no larger', () => {
  fc.assert(
    fc.property(
      fc.constantFrom(0.25, 1, 2, 5),
      fc.double({ min: 0.05, max: 1, noNaN: true }),
      fc.double({ min: 1.5, max: 10, noNaN: true }),
      fc.constantFrom(8, 64, 4096),
      (ratio, eachMs, overload, start) => {
        const server = new SimulatedServer({ ...BOUNDS, min: 1, start });
        const cost = { fixedMs: ratio * eachMs, eachMs };
        const capacity = capacityOf(cost);
        server.run({ ...cost, seconds: 10, requestsPerSecond: overload * capacity });
        const { answered } = server.run({
          ...cost,
          seconds: 10,
          requestsPerSecond: overload * capacity,
        });
        assert.ok(answered >= 0.9 * capacity * 9, `${answered} of ${capacity}/s`);
        // A batch of b has b / (ratio + b) of the throughput that no batch exceeds.
        const enough = (0.93 * ratio) / (1 - 0.93);
        assert.ok(server.limit.limit <= 4 * enough + 1, `${server.limit.limit} of ${enough}`);
      },
    ),
    { numRuns: 200 },
  );
});

test('at the start of an overload no queue is longer than an acceptable burst', () => {
  fc.assert(
    fc.property(
      fc.double({ min: 0.05, max: 1, noNaN: true }),
      fc.double({ min: 1.5, max: 10, noNaN: true }),
      (eachMs, overload) => {
        const { server, capacity, load } = calmWithoutGain(eachMs, overload);
        const { worstAtFirstMs } = server.run({ ...load, seconds: 2 });
        // The micro-batch that runs and the request's own come on top.
        const mostMs = 50 + 2 * (1000 / capacity) * BATCH;
        assert.ok(worstAtFirstMs <= 1.1 * mostMs, `${worstAtFirstMs} of ${mostMs} ms`);
      },
    ),
  );
});

test('a baseline is not forgotten, however long an overload lasts', () => {
  const server = new SimulatedServer();
  const cost = { fixedMs: 0.05, eachMs: 0.4 };
  const load = { ...cost, requestsPerSecond: 1.5 * capacityOf(cost) };
  server.run({ ...cost, seconds: 5, requestsPerSecond: 100 });
  server.run({ ...load, seconds: 20 });
  const early = server.run({ ...load, seconds: 20 });
  server.run({ ...load, seconds: 120 });
  const late = server.run({ ...load, seconds: 20 });
  assert.ok(late.worstMs <= 1.2 * early.worstMs, `${early.worstMs} ms, then ${late.worstMs} ms`);
});

test('a server below its capacity refuses nothing', () => {
  fc.assert(
    fc.property(speed, fc.double({ min: 0.05, max: 0.6, noNaN: true }), (cost, share) => {
      const server = new SimulatedServer();
      // Single requests cost the fixed part each. At this rate there is time for that.
      const alone = 1000 / (cost.fixedMs + cost.eachMs);
      const requestsPerSecond = share * alone;
      const { answered } = server.run({ ...cost, seconds: 10, requestsPerSecond });
      assert.ok(answered >= 0.95 * 9 * requestsPerSecond - 2, `${answered}`);
      assert.ok(server.limit.limit >= BATCH / 2, `${server.limit.limit}`);
    }),
  );
});

test('a server below its capacity that stops for 50 ms each second refuses nothing', () => {
  fc.assert(
    fc.property(speed, fc.double({ min: 0.05, max: 0.7, noNaN: true }), (cost, share) => {
      const server = new SimulatedServer();
      const alone = 1000 / (cost.fixedMs + cost.eachMs);
      const load = { ...cost, requestsPerSecond: share * alone };
      server.run({ ...load, seconds: 5 });
      assert.equal(server.run({ ...load, seconds: 20, stallMs: 50 }).refused, 0);
    }),
  );
});

test('while latency is at its baseline and the limit is used, it grows to its maximum', () => {
  const limit = new ConcurrencyLimit(BOUNDS);
  const seen: number[] = [];
  for (let nowMs = 1000; nowMs < 60_000; nowMs += 100) {
    limit.observe({ requests: BATCH, waitMs: 0, runMs: 20, open: limit.limit, refused: 0 }, nowMs);
    seen.push(limit.limit);
  }
  assert.deepEqual(
    seen,
    seen.toSorted((a, b) => a - b),
  );
  assert.equal(limit.limit, BOUNDS.max);
});

test('a queue lowers the limit within a second, and it recovers after the queue', () => {
  const limit = new ConcurrencyLimit({ ...BOUNDS, start: BOUNDS.max });
  let nowMs = 1000;
  const feed = (seconds: number, waitMs: number, runMs: number): void => {
    for (const endMs = nowMs + seconds * 1000; nowMs < endMs; nowMs += 20)
      limit.observe({ requests: BATCH, waitMs, runMs, open: limit.limit, refused: 0 }, nowMs);
  };
  feed(1, 0, 20);
  assert.equal(limit.limit, BOUNDS.max);
  feed(1, 400, 20);
  assert.ok(limit.limit <= 2 * BATCH, `${limit.limit}`);
  feed(5, 0, 20);
  assert.ok(limit.limit >= 10 * BATCH, `${limit.limit}`);
  // A slow run without a queue counts in the same way: other processes may take the CPU.
  feed(5, 0, 400);
  assert.ok(limit.limit <= 2 * BATCH, `${limit.limit}`);
});

test('a slower bundle sets a new baseline after the window', () => {
  const limit = new ConcurrencyLimit(BOUNDS);
  let nowMs = 1000;
  const feed = (seconds: number, runMs: number): void => {
    for (const endMs = nowMs + seconds * 1000; nowMs < endMs; nowMs += 50)
      limit.observe({ requests: BATCH, waitMs: 0, runMs, open: limit.limit, refused: 0 }, nowMs);
  };
  feed(10, 10);
  feed(20, 100);
  assert.ok(limit.limit < 2 * BATCH, `${limit.limit}`);
  feed(60, 100);
  assert.ok(limit.limit > 4 * BATCH, `${limit.limit}`);
});

test('an unused limit goes to the size of an acceptable burst, whatever was before', () => {
  for (const eachMs of [0.2, 5]) {
    const limit = new ConcurrencyLimit({ ...BOUNDS, start: 4000 });
    let nowMs = 1000;
    for (let i = 0; i < 2; i++, nowMs += 60)
      limit.observe({ requests: BATCH, waitMs: 900, runMs: 90, open: 4000, refused: 0 }, nowMs);
    assert.ok(limit.limit > 8 * BATCH, `${limit.limit}`);
    const expected = Math.floor(Math.max(BATCH / 2, 50 / Math.min(eachMs, 90 / BATCH)));
    for (let i = 0; i < 5; i++, nowMs += 110)
      limit.observe({ requests: 1, waitMs: 0, runMs: eachMs, open: 1, refused: 0 }, nowMs);
    assert.equal(limit.limit, expected);
    for (let i = 0; i < 40; i++, nowMs += 60)
      limit.observe({ requests: BATCH, waitMs: 900, runMs: 90, open: 4000, refused: 0 }, nowMs);
    assert.ok(limit.limit < BATCH / 2, `${limit.limit}`);
    for (let i = 0; i < 100; i++, nowMs += 110)
      limit.observe({ requests: 1, waitMs: 0, runMs: eachMs, open: 1, refused: 0 }, nowMs);
    assert.equal(limit.limit, expected);
  }
});

test('a burst that ends within an interval, and noise on an idle server, lower no limit', () => {
  const limit = new ConcurrencyLimit(BOUNDS);
  let nowMs = 1000;
  for (let i = 0; i < 200; i++, nowMs += 40)
    limit.observe(
      { requests: 1, waitMs: 0, runMs: i % 3 === 0 ? 50 : 1, open: 1, refused: 0 },
      nowMs,
    );
  const { limit: before } = limit;
  assert.equal(before, 50);
  for (let i = 0; i < 16; i++, nowMs += 5)
    limit.observe({ requests: BATCH, waitMs: 5 * i, runMs: 5, open: before, refused: 0 }, nowMs);
  limit.observe({ requests: BATCH, waitMs: 0, runMs: 5, open: 1, refused: 0 }, nowMs + 100);
  assert.ok(limit.limit >= before, `${limit.limit}`);
});

test('the limit never leaves its bounds, whatever is measured', () => {
  const sample = fc.record({
    requests: fc.integer({ min: 1, max: 1024 }),
    waitMs: fc.double({ min: 0, max: 1e7, noNaN: true }),
    runMs: fc.double({ min: 0, max: 1e7, noNaN: true }),
    open: fc.nat(5000),
    refused: fc.nat(5000),
    laterMs: fc.double({ min: 0, max: 1e5, noNaN: true }),
  });
  const bounds = fc
    .tuple(fc.integer({ min: 1, max: 200 }), fc.nat(5000), fc.double({ min: 0, max: 1 }))
    .filter(([, , at]) => !Number.isNaN(at))
    .map(([min, range, at]) => ({
      min,
      max: min + range,
      start: min + at * range,
      batch: BATCH,
      burst: BATCH / 2,
    }));
  fc.assert(
    fc.property(bounds, fc.array(sample, { maxLength: 200 }), (given, samples) => {
      const limit = new ConcurrencyLimit(given);
      let nowMs = 0;
      for (const { laterMs, ...batch } of samples) {
        nowMs += laterMs;
        limit.observe(batch, nowMs);
        assert.ok(limit.limit >= given.min && limit.limit <= given.max, `${limit.limit}`);
      }
    }),
  );
});
