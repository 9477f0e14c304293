/**
 * What failures cost, on a broker of its own: how late records come back from a retry topic, what one retried record in a hundred and one
 * dead letter in a thousand take from the throughput, and how many runs it takes to find one poison record in a large slice: `npm run
 * bench:retry -- --json`.
 */
import { setTimeout as pause } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { lastValueFrom, map, takeWhile, tap } from 'rxjs'
import {
  attempt,
  deadLetter,
  decode,
  deliveryAttempt,
  json,
  kafka,
  retryTopic,
  silentLogger,
  toTopic,
  withTransaction,
  type Cluster,
  type RawRecord,
  type StreamRecord,
} from 'millrace'
import { z } from 'zod'
import { startKafka } from '../test/support/kafka/broker.js'
import { median, percentile } from './compare/median.js'

const { values } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    due: { type: 'string', default: '1000' },
    seconds: { type: 'string', default: '15' },
    records: { type: 'string', default: '2000000' },
    rounds: { type: 'string', default: '5' },
    partitions: { type: 'string', default: '4' },
    only: { type: 'string', default: 'lateness,throughput,bisection' },
  },
})
const partitions = Number(values.partitions)
const Line = z.object({ sku: z.string(), amount: z.number(), cents: z.number() })
const Order = z.object({ id: z.string(), amount: z.number(), sku: z.string(), lines: z.array(Line) })
// tsx turns them on, and the text of a stack then costs many times what it does in a program that was built.
process.setSourceMapsEnabled(false)

/** Milliseconds by which records were taken late, at a steady rate of so many coming due a second. */
async function lateness(cluster: Cluster): Promise<Record<string, number>> {
  const rate = Number(values.due)
  const total = rate * Number(values.seconds)
  const name = `late-${Date.now()}`
  await cluster.createTopics([
    { topic: name, partitions },
    { topic: `${name}-dead`, partitions },
  ])
  const delayMs = 2_000
  const failedAt = new Map<string, number>()
  const late: number[] = []
  const stop = new AbortController()
  let early = 0
  const running = lastValueFrom(
    cluster.source({ group: name, topics: [name], signal: stop.signal }).pipe(
      withTransaction(
        (records) =>
          records.pipe(
            attempt((record: RawRecord) => {
              const now = Date.now()
              const before = failedAt.get(record.id)
              if (before === undefined || deliveryAttempt(record) === 1) {
                failedAt.set(record.id, now)
                throw new Error('the first time')
              }
              // Measured from the failure itself, not from the due time in the header, which is a little later.
              late.push(now - before - delayMs)
              if (now - before < delayMs) early++
              if (late.length >= total) stop.abort()
            }),
            retryTopic({ delays: [delayMs] }),
            deadLetter({ topic: `${name}-dead` }),
          ),
        { provision: true },
      ),
    ),
    { defaultValue: undefined },
  )
  const began = performance.now()
  async function* steady(): AsyncGenerator<{ value: string; partition: number }[]> {
    for (let sent = 0; sent < total;) {
      const due = Math.min(total, Math.floor(((performance.now() - began) / 1_000) * rate))
      if (due > sent) {
        yield Array.from({ length: due - sent }, (_, i) => ({ value: `v${sent + i}`, partition: (sent + i) % partitions }))
        sent = due
      }
      await pause(10)
    }
  }
  for await (const records of steady()) await cluster.produce({ topic: name, records })
  await running
  // The first second warms up: joining, first metadata, compilation.
  const measured = late.slice(rate)
  return {
    duePerSecond: rate,
    records: measured.length,
    p50: percentile(measured, 50),
    p99: percentile(measured, 99),
    max: percentile(measured, 100),
    early,
  }
}

/**
 * A step that returns a promise, as those do that ask a service; or one that is done at once, where nothing else hides what a failure
 * costs.
 */
type StepKind = 'async' | 'sync'

/** How many lines an order has: its size, and so what a record costs that does not fail. */
const LINES = { 'of 100 B': 0, 'of 1 kB': 22 }

/**
 * Orders a second through one pipeline, without and with failures, in turns: from the first one to the commit of the last one of the input.
 * What failed comes back meanwhile, all but what failed in the last moments.
 */
async function throughput(cluster: Cluster): Promise<Record<string, Record<string, number>>> {
  const results: Record<string, Record<string, number>> = {}
  for (const [size, lines] of Object.entries(LINES)) {
    const count = Math.round(Number(values.records) / (lines === 0 ? 1 : 5))
    const name = `cost-${Date.now()}`
    const topics = [name, `${name}-out`, `${name}-dead`]
    await cluster.createTopics(topics.map((topic) => ({ topic, partitions })))
    await cluster.produce({
      topic: name,
      records: (function* () {
        for (let i = 0; i < count; i++) {
          const order = {
            id: `order-${i}`,
            amount: i % 977,
            sku: `sku-${i % 31}-${'x'.repeat(40)}`,
            lines: Array.from({ length: lines }, (_, line) => ({ sku: `sku-${(i + line) % 9_973}`, amount: line, cents: i % 9_999 })),
          }
          yield { key: `k${i % 1000}`, value: JSON.stringify(order), partition: i % partitions }
        }
      })(),
    })
    for (const kind of ['async', 'sync'] as const) results[`${kind}, ${size}`] = await compared(cluster, name, count, kind)
  }
  return results
}

async function compared(cluster: Cluster, name: string, count: number, kind: StepKind): Promise<Record<string, number>> {
  const rates: Record<'without' | 'with', number[]> = { without: [], with: [] }
  let returned = 0
  const once = async (failures: 'without' | 'with', round: number): Promise<void> => {
    let began = 0
    returned = 0
    const ends = new Map<number, number>()
    const step = (record: StreamRecord<unknown, unknown>): void => {
      // Looked at in both: only what follows is the cost of failures.
      const { offset } = record.origin
      if (failures === 'without') return
      if (offset % 1_000 === 0) throw new RangeError('never')
      if (offset % 100 !== 1) return
      if (deliveryAttempt(record) === 1) throw new Error('not the first time')
      returned++
    }
    await lastValueFrom(
      cluster.source({ group: `${name}-${kind}-${failures}-${round}`, topics: [name] }).pipe(
        withTransaction(
          (records) =>
            records.pipe(
              tap(() => (began ||= performance.now())),
              decode(Order),
              attempt(kind === 'sync' ? step : async (record) => step(record)),
              retryTopic({ delays: [200], except: RangeError }),
              deadLetter({ topic: `${name}-dead` }),
              toTopic({ topic: `${name}-out`, value: json() }),
            ),
          { provision: true },
        ),
        takeWhile(({ offsets }) => {
          for (const { topic, partition, offset } of offsets) if (topic === name) ends.set(partition, offset)
          return [...ends.values()].reduce((sum, offset) => sum + offset, 0) < count
        }, true),
      ),
    )
    rates[failures].push(count / ((performance.now() - began) / 1_000))
  }
  for (let round = 0; round < Number(values.rounds); round++) {
    await once(round % 2 === 0 ? 'without' : 'with', round)
    await once(round % 2 === 0 ? 'with' : 'without', round)
  }
  const [without, withFailures] = [median(rates.without), median(rates.with)]
  return {
    without: Math.round(without),
    withFailures: Math.round(withFailures),
    ratio: Number((withFailures / without).toFixed(3)),
    cameBackMeanwhile: returned,
  }
}

/** Runs until one poison record among so many is alone, where nothing tells which it is. */
async function bisection(brokers: string[]): Promise<Record<string, number>> {
  const size = 5_000
  // Slices grow to their full size over the first ones.
  const before = 20 * size
  const found: number[] = []
  const cluster = kafka({
    brokers,
    logger: {
      ...silentLogger,
      error: (fields) => void (typeof fields === 'object' && fields !== null && 'runs' in fields && found.push(Number(fields.runs))),
    },
  })
  const places = [0, 1, 2_499, 2_500, 3_333, 4_998, 4_999]
  for (const place of places) {
    const at = before + place
    const name = `find-${place}-${Date.now()}`
    await cluster.createTopics([{ topic: name, partitions: 1 }])
    await cluster.produce({
      topic: name,
      records: (function* () {
        for (let i = 0; i < before + size; i++) yield { value: String(i) }
      })(),
    })
    let done = 0
    await lastValueFrom(
      cluster.source({ group: name, topics: [name] }).pipe(
        withTransaction(
          (records) => {
            let poisoned = false
            return records.pipe(
              map((record) => {
                poisoned ||= Number(record.value) === at
                return record
              }),
              // Thrown at the end of the slice: no record is being pushed that could be blamed.
              tap({
                complete: () => {
                  if (poisoned) throw new Error('somewhere in it')
                },
              }),
            )
          },
          // The run that only sees whether the fault passes is no part of the search.
          { onError: 'skip', retries: 0, every: '10s', maxRecords: size },
        ),
        takeWhile((commit) => (done += commit.records) < before + size, true),
      ),
    )
  }
  await cluster.close()
  return { slice: size, places: places.length, found: found.length, mostRuns: Math.max(...found) }
}

const server = process.env['KAFKA_BROKERS'] ? undefined : await startKafka()
const brokers = server?.brokers ?? (process.env['KAFKA_BROKERS'] as string).split(',')
const cluster = kafka({ brokers, logger: silentLogger })
try {
  const asked = values.only.split(',')
  const result: Record<string, object> = {}
  if (asked.includes('lateness')) result['lateness'] = await lateness(cluster)
  if (asked.includes('throughput')) result['throughput'] = await throughput(cluster)
  if (asked.includes('bisection')) result['bisection'] = await bisection(brokers)
  if (values.json) console.log(JSON.stringify(result))
  else for (const [name, table] of Object.entries(result)) (console.log(name), console.table(name === 'throughput' ? table : [table]))
} finally {
  await cluster.close()
  await server?.stop()
}
