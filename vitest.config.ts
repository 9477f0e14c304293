import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    reporters: ['default', './test/support/summary-reporter.ts'],
    projects: [
      {
        test: {
          name: 'unit',
          include: ['test/unit/**/*.test.ts', 'test/embedded/**/*.test.ts'],
          // Property tests run many cases, and files run side by side on few cores.
          testTimeout: 60_000,
        },
      },
      {
        test: {
          name: 'install',
          // The package as users get it, in every module system, package manager and Node: packed and installed once for all of them.
          include: ['test/install/**/*.test.ts'],
          globalSetup: ['test/install/project.ts'],
          testTimeout: 120_000,
          hookTimeout: 120_000,
        },
      },
      {
        test: {
          name: 'streams',
          // Against Kafka Streams itself, which runs without a broker: Java and Maven, one program for the file.
          include: ['test/streams/**/*.test.ts'],
          testTimeout: 60_000,
          hookTimeout: 180_000,
        },
      },
      {
        test: {
          name: 'registry',
          // Against a schema registry, which is fetched: npm run test:registry, not part of npm test.
          include: ['test/registry/**/*.test.ts'],
          testTimeout: 60_000,
          hookTimeout: 180_000,
        },
      },
      {
        test: {
          name: 'redis',
          // Each starts the Redis servers it needs.
          include: ['test/redis/**/*.test.ts'],
          testTimeout: 60_000,
          hookTimeout: 60_000,
          fileParallelism: false,
        },
      },
      {
        test: {
          name: 'postgres',
          // Each starts the PostgreSQL it needs; DATABASE_URL can name one for those that do it no harm.
          include: ['test/postgres/**/*.test.ts'],
          testTimeout: 60_000,
          hookTimeout: 60_000,
          fileParallelism: false,
        },
      },
      {
        test: {
          name: 'kafka',
          include: ['test/kafka/**/*.test.ts'],
          globalSetup: ['test/support/kafka/global-setup.ts'],
          testTimeout: 60_000,
          hookTimeout: 90_000,
          // Brokers and the code under test share few cores; one file at a time keeps time-outs honest.
          fileParallelism: false,
        },
      },
    ],
  },
})
