import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { CircuitBreaker } from './circuit-breaker.ts';

const RETRY_MS = 1000;

class Refused extends Error {}
class Answered extends Error {}

describe('CircuitBreaker', () => {
  let nowMs: number;
  let calls: number;
  let breaker: CircuitBreaker;

  beforeEach(() => {
    nowMs = 0;
    calls = 0;
    breaker = new CircuitBreaker({
      failures: 3,
      retryMs: RETRY_MS,
      nowMs: () => nowMs,
      isFailure: (error) => !(error instanceof Answered),
    });
  });

  function run(call: () => Promise<string>): Promise<string> {
    return breaker.run(
      () => {
        calls++;
        return call();
      },
      () => {
        throw new Refused();
      },
    );
  }
  const works = (): Promise<string> => run(() => Promise.resolve('answer'));
  const fails = (error = new Error('down')): Promise<void> =>
    assert.rejects(
      run(() => Promise.reject(error)),
      error,
    );
  async function open(): Promise<void> {
    for (let i = 0; i < 3; i++, nowMs++) await fails();
  }

  it('opens after three failures in a row, and then refuses without a call', async () => {
    await open();
    assert.equal(calls, 3);
    await assert.rejects(works(), Refused);
    assert.equal(calls, 3);
  });

  it('counts from zero again after an answer', async () => {
    for (let round = 0; round < 3; round++) {
      for (let i = 0; i < 2; i++, nowMs++) await fails();
      assert.equal(await works(), 'answer');
    }
  });

  it('lets one call through per retry period, and closes when it is answered', async () => {
    await open();
    nowMs += RETRY_MS;
    await fails();
    await assert.rejects(works(), Refused);
    nowMs += RETRY_MS;
    const [first, second] = await Promise.allSettled([works(), works()]);
    assert.equal(first.status, 'fulfilled');
    assert.equal(second.status, 'rejected', 'the second call came while the first was under way');
    assert.equal(await works(), 'answer');
  });

  it('counts calls that were under way together as one failure', async () => {
    nowMs = 10;
    const together = Array.from({ length: 50 }, () => fails());
    nowMs = 20;
    await Promise.all(together);
    assert.equal(await works(), 'answer');
  });

  it('does not count an error that is an answer', async () => {
    for (let i = 0; i < 10; i++, nowMs++) await fails(new Answered());
    assert.equal(await works(), 'answer');
  });
});
