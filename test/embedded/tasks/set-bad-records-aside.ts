import { z } from 'zod'
import { deadLetter, decode, json, toTopic, withTransaction, type Cluster } from '../../../src/index.js'

const Reading = z.object({ sensor: z.string(), degrees: z.number() })

export const pipeline = (cluster: Cluster) =>
  cluster
    .source({ group: 'readings', topics: ['readings'] })
    .pipe(
      withTransaction(
        (readings) =>
          readings.pipe(decode(Reading), deadLetter({ topic: 'readings.dead' }), toTopic({ topic: 'readings-checked', value: json() })),
        { provision: true },
      ),
    )
