// The job as a careful hand-written loop on @platformatic/kafka: one consumer, one transactional producer, offsets in the transaction.
// Plain JavaScript, as its package is fetched when the bench runs: PEER_MODULES names where it is.
import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'

const { KAFKA_BROKERS, INPUT_TOPIC, OUTPUT_TOPIC, RECORDS, COMMIT_MS, MODE, PEER_MODULES } = process.env
const found = createRequire(`${PEER_MODULES}/package.json`).resolve('@platformatic/kafka')
const { Consumer, Producer, MessagesStreamModes, ProduceAcks } = await import(pathToFileURL(found).href)

const total = Number(RECORDS)
const name = `platformatic-${process.pid}-${Date.now()}`
const connection = { clientId: name, bootstrapBrokers: KAFKA_BROKERS.split(',') }
const producer = new Producer({ ...connection, transactionalId: name, idempotent: true, strict: false, acks: ProduceAcks.ALL })
const consumer = new Consumer({ ...connection, groupId: name, autocommit: false, maxWaitTime: 20 })
const stream = await consumer.consume({
  topics: [INPUT_TOPIC],
  mode: MessagesStreamModes.EARLIEST,
  highWaterMark: 10_000,
  isolationLevel: 1,
})

/** The work of MODE=json, in all programs the same. */
const change = (value) => {
  const order = JSON.parse(String(value))
  order.amount += 1
  return Buffer.from(JSON.stringify(order))
}

let began = 0
let cpu = process.cpuUsage()
let done = 0
let open
let until = 0
let batch = []
const last = new Map()

const flush = async () => {
  if (batch.length === 0) return
  const messages = batch
  batch = []
  await open.send({ messages })
}
const commit = async () => {
  await flush()
  for (const message of last.values()) await open.addOffset(message)
  last.clear()
  await open.commit()
  open = undefined
}

for await (const message of stream) {
  if (began === 0) {
    began = performance.now()
    cpu = process.cpuUsage()
  }
  if (open === undefined) {
    open = await producer.beginTransaction()
    await open.addConsumer(consumer)
    until = performance.now() + Number(COMMIT_MS)
  }
  const { key, value, timestamp, partition } = message
  batch.push({ topic: OUTPUT_TOPIC, key, value: MODE === 'json' ? change(value) : value, timestamp })
  last.set(partition, message)
  done++
  if (batch.length >= 1_000) await flush()
  if (performance.now() >= until || done >= total) await commit()
  if (done >= total) break
}
const seconds = (performance.now() - began) / 1000
const { user, system } = process.cpuUsage(cpu)
console.log(
  JSON.stringify({
    records: done,
    seconds,
    cpuMicrosPerRecord: (user + system) / done,
    peakMegabytes: process.resourceUsage().maxRSS / 1024,
  }),
)
process.exit(0)
