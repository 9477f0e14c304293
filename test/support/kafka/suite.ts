import { afterAll, afterEach, inject } from 'vitest'
import { kafka, silentLogger, type Cluster } from '../../../src/index.js'
import { Child } from '../child.js'
import { observe, type Observer } from './client.js'

export interface KafkaSuite {
  readonly observer: Observer
  readonly cluster: Cluster
  /** A test program on these brokers, as a process that ends with its test. */
  start(program: URL, env: Readonly<Record<string, string>>, args?: readonly string[]): Child
}

/** What a suite on the broker of the run stands on; to be called in its `describe`, whose last test closes it. */
export function kafkaSuite(): KafkaSuite {
  const brokers = inject('kafkaBrokers')
  const observer = observe(brokers)
  const cluster = kafka({ brokers, logger: silentLogger })
  const children: Child[] = []
  afterEach(() => {
    for (const child of children.splice(0)) child.kill('SIGKILL')
  })
  afterAll(async () => {
    await cluster.close()
    await observer.close()
  })
  return {
    observer,
    cluster,
    start(program, env, args) {
      const child = new Child(program, { KAFKA_BROKERS: brokers.join(','), ...env }, args)
      children.push(child)
      return child
    },
  }
}
