import assert from 'node:assert/strict';
import { before, describe, it } from 'node:test';
import fc from 'fast-check';
import { near } from '../../../../test/support/f64.ts';
import { useBackend } from '../../../backend/select.ts';
import { tf } from '../../../backend/tf.ts';
import { TEMPERATURE_BOUNDS } from '../../train-config.ts';
import { inverseTemperature, temperatureVariable } from './temperature.ts';

before(() => useBackend());

function temperatureOf(variable: tf.Variable): number {
  return 1 / tf.tidy(() => inverseTemperature(variable).dataSync()[0]!);
}

describe('temperature', () => {
  it('starts where it is told, and falls with x on a logarithmic scale', () => {
    fc.assert(
      fc.property(fc.double({ min: 0.011, max: 0.99, noNaN: true }), (start) => {
        const variable = temperatureVariable(start);
        near(temperatureOf(variable), start, 1e-4, 'tau');
        // d ln tau / dx = s (1 - s) ln 100, where s is the share of ln tau between its bounds.
        const share = Math.log(start / 0.01) / Math.log(100);
        const slope = tf.tidy(
          () =>
            tf
              .grad((x) => tf.neg(tf.log(inverseTemperature(x))))(variable)
              .dataSync()[0]!,
        );
        near(slope, share * (1 - share) * Math.log(100), 1e-3, 'slope of ln tau');
        variable.dispose();
      }),
      { numRuns: 30 },
    );
  });

  it('stays within its bounds wherever x goes', () => {
    const variable = temperatureVariable(0.06);
    for (const x of [-1e4, -20, 20, 1e4]) {
      tf.tidy(() => {
        variable.assign(tf.tensor1d([x]));
      });
      const tau = temperatureOf(variable);
      const bound = x < 0 ? TEMPERATURE_BOUNDS.low : TEMPERATURE_BOUNDS.high;
      assert.ok(Math.abs(tau - bound) < 1e-6, `x ${x}: ${tau}`);
    }
    variable.dispose();
  });
});
