// Reads JSON, changes one field, writes JSON, exactly once, until SIGTERM.
import { lastValueFrom } from 'rxjs'
import { json, kafka, mapValue, shutdownSignal, toTopic, withTransaction } from 'millrace'

const {
  KAFKA_BROKERS = 'localhost:9092',
  INPUT_TOPIC = 'in',
  OUTPUT_TOPIC = 'out',
  GROUP_ID = 'map-json',
  INSTANCE_ID,
  COMMIT_MS = '100',
} = process.env

const cluster = kafka({ brokers: KAFKA_BROKERS.split(',') })

const commits = cluster
  .source({ group: GROUP_ID, topics: [INPUT_TOPIC], signal: shutdownSignal(), ...(INSTANCE_ID && { instanceId: INSTANCE_ID }) })
  .pipe(
    withTransaction(
      (records) =>
        records.pipe(
          mapValue((value) => Object.assign(JSON.parse(String(value)) as object, { processed: true })),
          toTopic({ topic: OUTPUT_TOPIC, value: json() }),
        ),
      { every: Number(COMMIT_MS) },
    ),
  )

await lastValueFrom(commits, { defaultValue: undefined })
await cluster.close()
