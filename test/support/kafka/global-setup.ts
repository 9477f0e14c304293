import type { TestProject } from 'vitest/node'
import { startKafka } from './broker.js'

declare module 'vitest' {
  export interface ProvidedContext {
    /** `host:port` of the cluster that all tests of the `kafka` project share. */
    kafkaBrokers: string[]
  }
}

/**
 * One broker for all tests that can share one: topics and groups have unique names. A test that needs another kind of
 * broker, or means to hurt it, calls `startKafka` itself.
 */
export default async function setup(project: TestProject): Promise<(() => Promise<void>) | void> {
  const given = process.env['KAFKA_BROKERS']
  if (given !== undefined && given.trim() !== '') {
    project.provide(
      'kafkaBrokers',
      given.split(',').map((broker) => broker.trim()),
    )
    return
  }
  const server = await startKafka()
  project.provide('kafkaBrokers', server.brokers)
  return () => server.stop()
}
