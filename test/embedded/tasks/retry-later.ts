import { attempt, deadLetter, retryTopic, toTopic, withTransaction, type Cluster } from '../../../src/index.js'

/** Whom the records are for; the first calls fail. */
export const service = { callsLeftToFail: 0, call: async (text: string) => `done: ${text}` }

export const pipeline = (cluster: Cluster) =>
  cluster.source({ group: 'notifier', topics: ['messages'] }).pipe(
    withTransaction(
      (messages) =>
        messages.pipe(
          attempt(async (message) => {
            if (service.callsLeftToFail-- > 0) throw new Error('503 from the service')
            return service.call(String(message.value))
          }),
          retryTopic({ delays: ['10s', '5m'] }),
          deadLetter({ topic: 'messages.dead' }),
          toTopic({ topic: 'notified' }),
        ),
      { provision: true },
    ),
  )
