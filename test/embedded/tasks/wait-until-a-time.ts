import { z } from 'zod'
import { decode, dropFailed, json, schedule, toTopic, withTransaction, type Cluster } from '../../../src/index.js'

const Reminder = z.object({ text: z.string(), at: z.number(), cancelled: z.boolean().optional() })

export const pipeline = (cluster: Cluster) =>
  cluster
    .source({ group: 'reminders', topics: ['reminders'] })
    .pipe(
      withTransaction(
        (reminders) =>
          reminders.pipe(
            decode(Reminder),
            dropFailed(),
            schedule({ at: ({ value }) => value.at, cancel: ({ value }) => value.cancelled === true, value: json() }),
            toTopic({ topic: 'due', value: json() }),
          ),
        { provision: true },
      ),
    )
