import { afterAll, beforeAll, describe, inject, it } from 'vitest'
import { runCase } from '../contract/case.js'
import { logContract } from '../contract/log-contract.js'
import { startKafka, type KafkaServer } from '../support/kafka/broker.js'
import { deleteBefore } from '../support/kafka/client.js'
import { client } from './wire/support.js'

// 3.9 knows the first transaction protocol alone, and has the group coordinator of old.
describe.each(['4.3', '3.9'] as const)('the log port on Kafka %s', (release) => {
  let server: KafkaServer | undefined
  let brokers: readonly string[]

  beforeAll(async () => {
    if (release === '3.9') server = await startKafka({ release })
    brokers = server?.brokers ?? inject('kafkaBrokers')
  })
  afterAll(() => server?.stop())

  it.each(logContract)('$name', (contractCase) =>
    runCase(contractCase, { open: () => client(brokers), deleteBefore: (at) => deleteBefore(brokers, at) }),
  )
})
