import { embedded } from '../../src/index.js'
import { createEmbeddedBroker } from '../../src/testing/index.js'
import { describeConsume } from '../support/consume-cases.js'

describeConsume('the embedded broker', async () => {
  const cluster = embedded({ broker: createEmbeddedBroker() })
  await cluster.createTopics([{ topic: 't', partitions: 2 }])
  return { cluster, topic: 't', group: 'g' }
})
