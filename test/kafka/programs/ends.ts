/**
 * A process that makes topics and produces, runs a pipeline until it is told to end, and closes nothing: the first program of the readme.
 */
import { kafka, shutdownSignal, toTopic, withTransaction } from '../../../src/index.js'

const { INPUT = '', OUTPUT = '', KAFKA_BROKERS = '' } = process.env

const cluster = kafka({ brokers: KAFKA_BROKERS.split(',') })
await cluster.createTopics([{ topic: INPUT }, { topic: OUTPUT }])
await cluster.produce({ topic: INPUT, records: [{ key: 'a', value: '1' }] })
cluster
  .source({ group: INPUT, topics: [INPUT], signal: shutdownSignal() })
  .pipe(withTransaction((records) => records.pipe(toTopic({ topic: OUTPUT }))))
  .subscribe({ next: ({ records }) => console.log(`committed ${records}`), complete: () => console.log('complete') })
