/**
 * The producer beside kafkajs's, in turns: many sends at once, and one after the other beside a bare Produce on one connection.
 * `npm run bench:producer -- --rounds=5 --sends=20000 --json`.
 */
import { once } from 'node:events'
import { connect } from 'node:net'
import { loadavg } from 'node:os'
import { parseArgs } from 'node:util'
import { Kafka, logLevel } from 'kafkajs'
import { kafka } from 'millrace'
import { BatchWriter, stampBatch } from '../src/log/batch/write.js'
import { Produce } from '../src/kafka/protocol/produce.js'
import { encodeRequest } from '../src/kafka/protocol/request.js'
import { startKafka } from '../test/support/kafka/broker.js'
import { median, percentile } from './compare/median.js'

const { values } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    rounds: { type: 'string', default: '5' },
    sends: { type: 'string', default: '20000' },
    concurrent: { type: 'string', default: '1000' },
    single: { type: 'string', default: '500' },
  },
})
const [rounds, sends, concurrent, single] = [values.rounds, values.sends, values.concurrent, values.single].map(Number) as [
  number,
  number,
  number,
  number,
]
const value = 'x'.repeat(100)
const server = process.env.KAFKA_BROKERS ? undefined : await startKafka()
const brokers = server?.brokers ?? (process.env.KAFKA_BROKERS as string).split(',')
const cluster = kafka({ brokers: [...brokers] })
const topic = `producer-${Date.now()}`
const one = `${topic}-one`
await cluster.createTopics([
  { topic, partitions: 4 },
  { topic: one, partitions: 1 },
])
const producer = cluster.producer()
const other = new Kafka({ brokers: [...brokers], logLevel: logLevel.NOTHING }).producer()
await other.connect()

/** Records a second, so many calls at once all the time. */
async function rate(send: (key: string) => Promise<unknown>): Promise<number> {
  let next = 0
  const began = performance.now()
  const worker = async (): Promise<void> => {
    while (next < sends) await send(`k${next++ % 1_000}`)
  }
  await Promise.all(Array.from({ length: concurrent }, worker))
  return sends / ((performance.now() - began) / 1_000)
}

/** Milliseconds, the median of calls one after the other. */
async function p50(send: () => Promise<unknown>): Promise<number> {
  const times: number[] = []
  for (let i = 0; i < single; i++) {
    const began = performance.now()
    await send()
    times.push(performance.now() - began)
  }
  return percentile(times, 50)
}

const [host = '', port = ''] = (brokers[0] as string).split(':')
const socket = connect({ host, port: Number(port), noDelay: true })
await once(socket, 'connect')

/** One record in one batch of no producer: what a broker takes least trouble with. */
async function bare(): Promise<void> {
  const writer = new BatchWriter(one, 0, 10_000)
  writer.append(null, value, {}, Date.now())
  const [batch] = writer.take(true)
  if (batch === undefined) throw new Error('no batch')
  const stamp = { producerId: -1n, producerEpoch: -1, baseSequence: -1, transactional: false, compression: 0 }
  const request = { transactionalId: null, timeoutMs: 10_000, batches: [{ topic: one, partition: 0, bytes: stampBatch(batch, stamp) }] }
  socket.write(Buffer.concat(encodeRequest(Produce, request, 1, 'bare')))
  await once(socket, 'data')
}

const rows: Record<string, number>[] = []
// The first round warms up.
for (let round = 0; round <= rounds; round++) {
  const row = {
    load: Math.round(loadavg()[0] as number),
    perSecond: Math.round(await rate((key) => producer.send({ topic, key, value }))),
    kafkajsPerSecond: Math.round(await rate((key) => other.send({ topic, messages: [{ key, value }] }))),
    bareMs: await p50(bare),
    sendMs: await p50(() => producer.send({ topic: one, value })),
    kafkajsMs: await p50(() => other.send({ topic: one, messages: [{ value }] })),
  }
  if (round > 0) rows.push({ ...row, timesKafkajs: row.perSecond / row.kafkajsPerSecond, timesBare: row.sendMs / row.bareMs })
}
socket.destroy()
await other.disconnect()
await cluster.close()
await server?.stop()
const middle = Object.fromEntries(
  Object.keys(rows[0] as object).map((name) => [name, Number(median(rows.map((row) => row[name] as number)).toFixed(2))]),
)
if (values.json) console.log(JSON.stringify({ rounds: rows, median: middle }))
else console.table([...rows, middle])
