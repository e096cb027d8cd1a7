import js from '@eslint/js';
import tseslint from 'typescript-eslint';

/** Forbids `...{ a, b }` inside an object literal: a way to keep the formatter from breaking lines. */
const SPREAD_OF_A_LITERAL = {
  selector: 'ObjectExpression > SpreadElement > ObjectExpression',
  message: 'Write the properties out: a spread of a literal only dodges the formatter.',
};

export default tseslint.config(
  {
    ignores: [
      'dist/',
      'build/',
      '**/node_modules/',
      'data/',
      'runs/',
      '.demo/',
      'bench/peers/venv/',
    ],
  },
  js.configs.recommended,
  { rules: { 'no-restricted-syntax': ['error', SPREAD_OF_A_LITERAL] } },
  {
    files: ['**/*.ts'],
    extends: [...tseslint.configs.strictTypeChecked],
    languageOptions: {
      parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname },
    },
    rules: {
      // `a[i]!` is honest in a hot loop: noUncheckedIndexedAccess makes the reader say so.
      '@typescript-eslint/no-non-null-assertion': 'off',
      '@typescript-eslint/restrict-template-expressions': [
        'error',
        { allowNumber: true, allowBoolean: true },
      ],
      // node:test's it() and describe() return promises that the runner awaits.
      '@typescript-eslint/no-floating-promises': [
        'error',
        {
          allowForKnownSafeCalls: [
            { from: 'package', package: 'node:test', name: ['test', 'it', 'describe', 'suite'] },
          ],
        },
      ],
    },
  },
  {
    files: ['src/**/*.ts'],
    rules: {
      // A later list of a rule replaces an earlier one, so this list names both.
      'no-restricted-syntax': [
        'error',
        SPREAD_OF_A_LITERAL,
        {
          selector: 'ObjectExpression > Property[kind="get"]',
          message:
            'Expected a class: V8 gives an object literal with a getter a hidden class of its own, ' +
            'and those outlive it until a full collection.',
        },
      ],
    },
  },
  {
    files: ['**/*.mjs', '**/*.cjs', 'eslint.config.js'],
    languageOptions: {
      globals: {
        process: 'readonly',
        console: 'readonly',
        module: 'writable',
        URL: 'readonly',
        fetch: 'readonly',
        performance: 'readonly',
        clearTimeout: 'readonly',
        setTimeout: 'readonly',
      },
    },
  },
);
