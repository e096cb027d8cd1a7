// In which form the tests run. `npm test` runs the quick form. `npm run test:long` sets
// TANDEM_TESTS=long, and tests that repeat one thing many times repeat it more often.

export const FORM: 'quick' | 'long' = process.env['TANDEM_TESTS'] === 'long' ? 'long' : 'quick';
