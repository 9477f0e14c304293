// Copies a topic exactly once, until SIGTERM. Start several with one GROUP_ID to share the partitions.
import { lastValueFrom } from 'rxjs'
import { kafka, shutdownSignal, toTopic, withTransaction } from 'millrace'

const {
  KAFKA_BROKERS = 'localhost:9092',
  INPUT_TOPIC = 'in',
  OUTPUT_TOPIC = 'out',
  GROUP_ID = 'passthrough',
  INSTANCE_ID,
  COMMIT_MS = '100',
} = process.env

const cluster = kafka({ brokers: KAFKA_BROKERS.split(',') })

const commits = cluster
  .source({ group: GROUP_ID, topics: [INPUT_TOPIC], signal: shutdownSignal(), ...(INSTANCE_ID && { instanceId: INSTANCE_ID }) })
  .pipe(withTransaction((records) => records.pipe(toTopic({ topic: OUTPUT_TOPIC })), { every: Number(COMMIT_MS) }))

await lastValueFrom(commits, { defaultValue: undefined })
await cluster.close()
