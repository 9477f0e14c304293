import { inject } from 'vitest'
import { kafka } from '../../src/index.js'
import { describeConsume } from '../support/consume-cases.js'
import { uniqueName } from '../support/kafka/client.js'

describeConsume('Kafka', async () => {
  const cluster = kafka({ brokers: inject('kafkaBrokers') })
  const topic = uniqueName('consumed')
  await cluster.createTopics([{ topic, partitions: 2 }])
  return { cluster, topic, group: uniqueName('consumers') }
})
