import { afterAll, beforeAll, describe, inject, it } from 'vitest'
import { runCase } from '../contract/case.js'
import { logContract } from '../contract/log-contract.js'
import { startKafka, type KafkaServer } from '../support/kafka/broker.js'
import { deleteBefore } from '../support/kafka/client.js'
import { client } from './wire/support.js'

describe.each([2, 0] as const)('the log port on Kafka, transaction.version %i', (transactionVersion) => {
  let server: KafkaServer | undefined
  let brokers: readonly string[]

  beforeAll(async () => {
    if (transactionVersion === 0) server = await startKafka({ transactionVersion })
    brokers = server?.brokers ?? inject('kafkaBrokers')
  })
  afterAll(() => server?.stop())

  it.each(logContract)('$name', (contractCase) =>
    runCase(contractCase, { open: () => client(brokers), deleteBefore: (at) => deleteBefore(brokers, at) }),
  )
})
