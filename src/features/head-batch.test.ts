import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { HeadBatchBuilder, type HeadBatch } from './head-batch.ts';

const WIDTH = 3;
const float = fc.float({ min: -10, max: 10, noNaN: true });
const requestArbitrary = fc.record({
  state: fc.option(fc.array(float, { minLength: WIDTH, maxLength: WIDTH })),
  age: fc.float({ min: 0, max: 1, noNaN: true }),
  subject: fc.array(fc.tuple(fc.nat(1000), float), { maxLength: 60 }),
  demographics: fc.tuple(fc.nat(9), fc.nat(9), fc.nat(9)),
});
type Request = typeof requestArbitrary extends fc.Arbitrary<infer R> ? R : never;

function add(builder: HeadBatchBuilder, { state, age, subject, demographics }: Request): void {
  builder.add(
    state === null ? undefined : Float32Array.from(state),
    age,
    { rows: subject.map(([row]) => row), weights: subject.map(([, weight]) => weight) },
    demographics,
  );
}

function check(batch: HeadBatch, requests: readonly Request[]): void {
  assert.equal(batch.count, requests.length);
  const bags = requests.map(({ subject }) => subject);
  assert.deepEqual(
    [...batch.states],
    requests.flatMap(({ state }) => state ?? [0, 0, 0]),
  );
  assert.deepEqual(
    [...batch.hasState],
    requests.map(({ state }) => Number(state !== null)),
  );
  assert.deepEqual(
    [...batch.stateAge],
    requests.map(({ state, age }) => (state === null ? 0 : age)),
  );
  assert.equal(batch.subjectOffsets.length, requests.length + 1);
  assert.deepEqual(
    [...batch.subjectOffsets],
    bags.reduce<number[]>((offsets, bag) => [...offsets, offsets.at(-1)! + bag.length], [0]),
  );
  assert.deepEqual(
    [...batch.subjectRows],
    bags.flat().map(([row]) => row),
  );
  assert.deepEqual(
    [...batch.subjectWeights],
    bags.flat().map(([, weight]) => weight),
  );
  assert.deepEqual(
    [...batch.demographics],
    requests.flatMap(({ demographics }) => demographics),
  );
}

test('a batch holds the requests added since clear(), however many', () => {
  fc.assert(
    fc.property(
      fc.array(fc.array(requestArbitrary, { maxLength: 20 }), { minLength: 1, maxLength: 3 }),
      fc.integer({ min: 1, max: 4 }),
      (rounds, capacity) => {
        // One builder for all rounds: values of an earlier, larger batch must not show.
        const builder = new HeadBatchBuilder(WIDTH, capacity);
        for (const requests of rounds) {
          builder.clear();
          for (const request of requests) add(builder, request);
          assert.equal(builder.count, requests.length);
          check(builder.batch(), requests);
        }
      },
    ),
  );
});

test('one bag may be larger than all allocated room', () => {
  const builder = new HeadBatchBuilder(WIDTH, 1);
  const subject = Array.from({ length: 5000 }, (_, i): [number, number] => [i, 1]);
  const request: Request = { state: null, age: 0, subject, demographics: [1, 2, 3] };
  for (let i = 0; i < 3; i++) add(builder, request);
  check(builder.batch(), [request, request, request]);
});
