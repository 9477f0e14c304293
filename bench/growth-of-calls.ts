/**
 * What the calls around pipelines cost at n, 2n and 4n, in CPU, and the exponent by which that grows, as `bench:growth` does for operators:
 * producers, readers, consumers, redrive, retries, dead letters, sinks outside the log. On a broker as well, where answers take a turn of the
 * event loop.
 *
 *   npm run bench:growth-of-calls                     on the embedded broker
 *   npm run bench:growth-of-calls -- --kafka          on a Kafka that is started, or the one of KAFKA_BROKERS
 *   npm run bench:growth-of-calls -- --n=20000 --runs=3 --only=redrive --json
 */
import { parseArgs } from 'node:util'
import { createClient } from '@libsql/client'
import { filter, lastValueFrom, map, scan, takeWhile } from 'rxjs'
import {
  append,
  attempt,
  count,
  deadLetter,
  dedupe,
  embedded,
  kafka,
  queryStore,
  recordKey,
  redrive,
  retryTopic,
  silentLogger,
  sqlClaims,
  toDatabase,
  toTopic,
  tumbling,
  window,
  withTransaction,
  type Cluster,
  type Commit,
  type RecordStream,
} from 'millrace'
import { sqlite } from 'millrace/sqlite'
import type { Observable } from 'rxjs'
import { startKafka } from '../test/support/kafka/broker.js'
import { measureGrowth } from './compare/growth.js'

const { values } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    kafka: { type: 'boolean', default: false },
    n: { type: 'string', default: '20000' },
    runs: { type: 'string', default: '3' },
    only: { type: 'string', default: '' },
  },
})

interface Place {
  readonly cluster: Cluster
  /** A topic of this run. */
  readonly topic: (name: string) => Promise<string>
  readonly group: string
}
/** Makes ready what is not measured, and returns what is. */
type Case = (place: Place, n: number) => Promise<() => Promise<unknown>>

function* rows(n: number): Generator<{ key: string; value: string }> {
  for (let i = 0; i < n; i++) yield { key: `k${i}`, value: `value ${i}` }
}
async function filled({ cluster, topic }: Place, n: number): Promise<string> {
  const name = await topic('in')
  await cluster.produce({ topic: name, records: rows(n) })
  return name
}
/** Runs until so many records are committed, those that come again included. */
const until = async (commits: Observable<Commit>, records: number): Promise<void> => {
  await lastValueFrom(
    commits.pipe(
      map((commit) => commit.records),
      scan((sum, one) => sum + one, 0),
      takeWhile((sum) => sum < records, true),
    ),
  )
}
const pipeline = (
  { cluster, group }: Place,
  input: string,
  project: (records: RecordStream) => Observable<unknown>,
  name = group,
): Observable<Commit> => cluster.source({ group: name, topics: [input] }).pipe(withTransaction(project, { provision: true, every: 20 }))

async function drain(records: AsyncIterable<unknown>, n: number): Promise<void> {
  let seen = 0
  for await (const _ of records) if (++seen === n) return
}

async function letters(place: Place, n: number): Promise<string> {
  const dead = await place.topic('dead')
  const failing = pipeline(place, await filled(place, n), (records) =>
    records.pipe(
      attempt(() => {
        throw new Error('no')
      }),
      deadLetter({ topic: dead }),
    ),
  )
  await until(failing, n)
  return dead
}

const cases: Readonly<Record<string, Case>> = {
  'produce an iterable': async ({ cluster, topic }, n) => {
    const to = await topic('out')
    return () => cluster.produce({ topic: to, records: rows(n) })
  },
  'produce an array': async ({ cluster, topic }, n) => {
    const [to, records] = [await topic('out'), [...rows(n)]]
    return () => cluster.produce({ topic: to, records })
  },
  'send, not awaited': async ({ cluster, topic }, n) => {
    const producer = cluster.producer({ topic: await topic('out') })
    return async () => {
      await Promise.all([...rows(n)].map((row) => producer.send(row)))
      await producer.close()
    }
  },
  'one transaction of a producer': async ({ cluster, topic, group }, n) => {
    const producer = cluster.producer({ topic: await topic('out'), transactionalId: group })
    return async () => {
      await producer.transaction(async (tx) => {
        for (const row of rows(n)) await tx.send(row)
      })
      await producer.close()
    }
  },
  read: async (place, n) => {
    const topic = await filled(place, n)
    return () => drain(place.cluster.read({ topic }), n)
  },
  'consume, with a group': async (place, n) => {
    const topic = await filled(place, n)
    return () => drain(place.cluster.consume({ topics: [topic], group: place.group, until: 'end' }), n)
  },
  'records that fail, to dead letters': async (place, n) => () => letters(place, n),
  'records retried once': async (place, n) => {
    const [input, out] = [await filled(place, n), await place.topic('out')]
    const failed = new Set<string>()
    return () =>
      until(
        pipeline(place, input, (records) =>
          records.pipe(
            attempt((record) => {
              const key = String(record.key)
              if (failed.has(key)) return
              failed.add(key)
              throw new Error('not yet')
            }),
            retryTopic({ delays: ['1ms'] }),
            deadLetter({ topic: out }),
            toTopic({ topic: out }),
          ),
        ),
        2 * n,
      )
  },
  redrive: async (place, n) => {
    const from = await letters(place, n)
    return () => redrive(place.cluster, { from, to: from.replace('dead', 'again') })
  },
  'rows into SQLite': async (place, n) => {
    const input = await filled(place, n)
    const client = createClient({ url: ':memory:' })
    await client.execute('CREATE TABLE rows (key text, value text)')
    const db = sqlite(client)
    const columns = { key: ({ key }: { key: unknown }) => String(key), value: ({ value }: { value: unknown }) => String(value) }
    return () =>
      until(
        pipeline(place, input, (records) => records.pipe(toDatabase(db, append({ table: 'rows', columns })))),
        n,
      )
  },
  'ids claimed in SQLite': async (place, n) => {
    const [input, out] = [await filled(place, n), await place.topic('out')]
    const claims = sqlClaims({ db: sqlite(createClient({ url: ':memory:' })) })
    return () =>
      until(
        pipeline(place, input, (records) =>
          records.pipe(dedupe({ by: recordKey(), within: '10m', store: claims }), toTopic({ topic: out })),
        ),
        n,
      )
  },
  'entries of a store, asked from outside': async (place, n) => {
    const input = await filled(place, n)
    const commits = pipeline(place, input, (records) =>
      records.pipe(
        window(tumbling('1h'), { aggregate: count() }),
        filter(() => false),
      ),
    )
    let asked: (() => Promise<unknown>) | undefined
    const stop = new Promise<void>((resolve) => {
      let seen = 0
      const subscription = commits.subscribe(({ records }) => {
        seen += records
        if (seen < n || asked !== undefined) return
        asked = () => {
          const found = [...queryStore(commits, 'window').entries()].length
          if (found !== n) throw new Error(`${found} entries of ${n}`)
          subscription.unsubscribe()
          return Promise.resolve()
        }
        resolve()
      })
    })
    await stop
    return () => (asked as () => Promise<unknown>)()
  },
}

const server = values.kafka && !process.env['KAFKA_BROKERS'] ? await startKafka({ heap: '2g' }) : undefined
const brokers = server?.brokers ?? process.env['KAFKA_BROKERS']?.split(',')

async function cpuMs(one: Case, n: number): Promise<number> {
  const cluster = values.kafka ? kafka({ brokers: brokers as string[], logger: silentLogger }) : embedded({ logger: silentLogger })
  const group = `growth-${Date.now()}-${Math.random().toString(36).slice(2)}`
  const topic = async (name: string): Promise<string> => {
    await cluster.createTopics([{ topic: `${group}-${name}`, partitions: 4 }])
    if (name === 'dead') await cluster.createTopics([{ topic: `${group}-again`, partitions: 4 }])
    return `${group}-${name}`
  }
  try {
    const measured = await one({ cluster, topic, group }, n)
    const before = process.cpuUsage()
    await measured()
    const { user, system } = process.cpuUsage(before)
    return (user + system) / 1_000
  } finally {
    await cluster.close()
  }
}

const N = Number(values.n)
try {
  const { rows: results, summary, exitCode } = await measureGrowth(cases, cpuMs, { n: N, runs: Number(values.runs), only: values.only })
  if (values.json) console.log(JSON.stringify({ node: process.version, n: N, log: values.kafka ? 'kafka' : 'embedded', results }, null, 2))
  else {
    console.log(`n = ${N}, medians of ${values.runs} runs, CPU; node ${process.version}; ${values.kafka ? 'Kafka' : 'the embedded broker'}`)
    console.table(results)
    console.log(summary)
  }
  process.exitCode = exitCode
} finally {
  await server?.stop()
}
