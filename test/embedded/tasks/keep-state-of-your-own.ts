import { z } from 'zod'
import { decode, dropFailed, json, store, toTopic, withStore, withTransaction, type Cluster } from '../../../src/index.js'

const Reading = z.object({ degrees: z.number() })

const last = store<number>({ name: 'last' })

export const pipeline = (cluster: Cluster) =>
  cluster.source({ group: 'changes', topics: ['readings'] }).pipe(
    withTransaction(
      (readings) =>
        readings.pipe(
          decode(Reading),
          dropFailed(),
          withStore(last, (before, reading) => {
            const sensor = String(reading.key)
            const { degrees } = reading.value
            const change = degrees - (before.get(sensor) ?? degrees)
            before.put(sensor, degrees)
            return reading.with({ value: { degrees, change } })
          }),
          toTopic({ topic: 'changes', value: json() }),
        ),
      { provision: true },
    ),
  )
