import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { CircuitBreaker } from './circuit-breaker.ts';

const RETRY_MS = 1000;

class Refused extends Error {}
class Answered extends Error {}

describe('CircuitBreaker', () => {
  let nowMs: number;
  let asked: number;
  let breaker: CircuitBreaker;

  beforeEach(() => {
    nowMs = 0;
    asked = 0;
    breaker = new CircuitBreaker({
      ...{ failures: 3, retryMs: RETRY_MS, nowMs: () => nowMs },
      isFailure: (error) => !(error instanceof Answered),
    });
  });

  function run(ask: () => Promise<string>): Promise<string> {
    return breaker.run(
      () => {
        asked++;
        return ask();
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

  it('asks until so many calls in a row have failed, then refuses without asking', async () => {
    await open();
    assert.equal(asked, 3);
    await assert.rejects(works(), Refused);
    assert.equal(asked, 3);
  });

  it('starts counting again after an answer', async () => {
    for (let round = 0; round < 3; round++) {
      for (let i = 0; i < 2; i++, nowMs++) await fails();
      assert.equal(await works(), 'answer');
    }
  });

  it('lets one call through once in a while, and is closed when that is answered', async () => {
    await open();
    nowMs += RETRY_MS;
    await fails();
    await assert.rejects(works(), Refused);
    nowMs += RETRY_MS;
    const [first, second] = await Promise.allSettled([works(), works()]);
    assert.equal(first.status, 'fulfilled');
    assert.equal(second.status, 'rejected', 'the second came while the first was under way');
    assert.equal(await works(), 'answer');
  });

  it('counts calls that were under way together once', async () => {
    nowMs = 10;
    const together = Array.from({ length: 50 }, () => fails());
    nowMs = 20;
    await Promise.all(together);
    assert.equal(await works(), 'answer');
  });

  it('takes an error that is an answer for no failure', async () => {
    for (let i = 0; i < 10; i++, nowMs++) await fails(new Answered());
    assert.equal(await works(), 'answer');
  });
});
