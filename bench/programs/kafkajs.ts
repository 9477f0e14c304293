// The job as a careful hand-written kafkajs loop: eachBatch, one transaction per commit interval, offsets in it.
import { Kafka, logLevel, type EachBatchPayload, type Message } from 'kafkajs'
import { z } from 'zod'
import { Stopwatch, change, job } from './report.js'

process.env.KAFKAJS_NO_PARTITIONER_WARNING = '1'
const { brokers, input, output, records, commitMs } = job()
const watch = new Stopwatch()
// Its producer groups messages in quadratic time: more than this a send gets slower, not faster.
const SEND = 1_000
const groupId = `bench-${process.pid}-${Date.now()}`
const client = new Kafka({ brokers, logLevel: logLevel.NOTHING })
// sendOffsets marks offsets in a map shared by all clients of one Kafka object: one each.
const producer = new Kafka({ brokers, logLevel: logLevel.NOTHING }).producer({
  transactionalId: groupId,
  idempotent: true,
  maxInFlightRequests: 1,
})
const consumer = client.consumer({ groupId, maxBytesPerPartition: 1024 * 1024 })
await producer.connect()
await consumer.connect()
await consumer.subscribe({ topic: input, fromBeginning: true })

const mode = process.env.MODE ?? 'pass'
const Order = z.object({ id: z.number(), sku: z.string(), amount: z.number(), note: z.string() })
/** Undefined for what is left out. */
const map = (value: Buffer | null): string | Buffer | null | undefined => {
  if (mode === 'pass') return value
  if (mode === 'json') return JSON.stringify(change(value))
  const order = Order.parse(JSON.parse(String(value)))
  return order.amount % 2 === 0 ? JSON.stringify({ ...order, amount: order.amount + 1 }) : undefined
}

let done = 0
let finish: () => void = () => {}
const finished = new Promise<void>((resolve) => (finish = resolve))
let busy: Promise<void> = Promise.resolve()

async function copy({ batch, resolveOffset, heartbeat }: EachBatchPayload): Promise<void> {
  watch.start()
  let at = 0
  while (at < batch.messages.length) {
    const transaction = await producer.transaction()
    const until = performance.now() + commitMs
    let last = at
    while (at < batch.messages.length && performance.now() < until) {
      const part = batch.messages.slice(at, at + SEND)
      const messages: Message[] = []
      for (const { key, value: read, headers, timestamp } of part) {
        const value = map(read)
        if (value !== undefined) messages.push({ key, value, ...(headers === undefined ? {} : { headers }), timestamp })
      }
      await transaction.send({ topic: output, messages })
      at += part.length
      last = at - 1
    }
    const offset = batch.messages[last]?.offset ?? '0'
    await transaction.sendOffsets({
      consumerGroupId: groupId,
      topics: [{ topic: input, partitions: [{ partition: batch.partition, offset: (BigInt(offset) + 1n).toString() }] }],
    })
    await transaction.commit()
    resolveOffset(offset)
    await heartbeat()
  }
  done += batch.messages.length
  if (done >= records) finish()
}

await consumer.run({
  autoCommit: false,
  eachBatchAutoResolve: false,
  eachBatch: (payload) => (busy = busy.then(() => copy(payload))),
})
await finished
watch.report(done)
await consumer.disconnect()
await producer.disconnect()
