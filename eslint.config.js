import tseslint from 'typescript-eslint'

const clock = 'Take the time from a Clock (src/record/clock.ts), which tests can turn.'
const timers = ['setTimeout', 'setInterval'].map((name) => ({ name, message: clock }))

export default tseslint.config(
  { ignores: ['dist/', 'coverage/', 'scratch/', 'node_modules/'] },
  {
    files: ['**/*.{ts,tsx}'],
    extends: [tseslint.configs.base],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    linterOptions: { reportUnusedDisableDirectives: 'error' },
    rules: {
      '@typescript-eslint/await-thenable': 'error',
      '@typescript-eslint/consistent-type-imports': ['error', { fixStyle: 'inline-type-imports', disallowTypeAnnotations: false }],
      '@typescript-eslint/no-explicit-any': 'error',
      '@typescript-eslint/no-floating-promises': 'error',
      '@typescript-eslint/no-misused-promises': ['error', { checksVoidReturn: { arguments: false } }],
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_', caughtErrors: 'all' }],
      eqeqeq: ['error', 'always', { null: 'ignore' }],
      'no-constant-binary-expression': 'error',
      'no-self-compare': 'error',
      'no-var': 'error',
      'prefer-const': 'error',
    },
  },
  {
    // The command line lives by the machine's own time.
    files: ['src/**/*.ts'],
    ignores: ['src/cli/**', 'src/testing/**', 'src/record/clock.ts'],
    rules: {
      'no-restricted-globals': ['error', ...timers],
      'no-restricted-properties': ['error', { object: 'Date', property: 'now', message: clock }],
    },
  },
)
