/**
 * Rows into PostgreSQL: millrace with its guarantee, against what one writes by hand without it, side by side on one broker and one server,
 * alternating, medians. All write the same rows with the same statement, 1,000 a call.
 *
 *   npm run bench:database
 *   npm run bench:database -- --json --records=200000 --runs=3 --commit=100
 *
 * 'kafkajs': a loop over kafkajs batches that inserts and then lets the offsets be committed: a crash in between writes rows twice.
 * 'memory': the same inserts of rows that were in memory all along: what PostgreSQL itself takes.
 */
import { cpus, loadavg } from 'node:os'
import { parseArgs } from 'node:util'
import { Kafka, logLevel } from 'kafkajs'
import { append, kafka, silentLogger, toDatabase, withTransaction, type RawRecord, type SqlTransaction } from 'millrace'
import { postgres } from 'millrace/postgres'
import pg from 'pg'
import { lastValueFrom, takeWhile, tap } from 'rxjs'
import { startKafka } from '../test/support/kafka/broker.js'
import { psql, startPostgres } from '../test/support/postgres.js'
import { median } from './compare/median.js'

const { values } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    records: { type: 'string', default: '400000' },
    runs: { type: 'string', default: '5' },
    commit: { type: 'string', default: '100' },
    batch: { type: 'string', default: '1000' },
  },
})
const records = Number(values.records)
const batch = Number(values.batch)
const PARTITIONS = 4
const say = (text: string): void => void process.stderr.write(`${text}\n`)

const broker = process.env.KAFKA_BROKERS ? undefined : await startKafka({ heap: '1g' })
const brokers = broker?.brokers ?? (process.env.KAFKA_BROKERS as string).split(',')
// As it comes: each commit is on disk.
const server = await startPostgres({ fsync: 'on', max_wal_size: '4GB', shared_buffers: '256MB' })
const cluster = kafka({ brokers, logger: silentLogger })
const input = `database-in-${Date.now()}`

interface Row {
  readonly value: unknown
  readonly timestamp: number
}
const columns = { body: ({ value }: Row) => String(value), at: ({ timestamp }: Row) => timestamp }
const rows = append<RawRecord>({ table: 'lines', columns })

async function fresh(): Promise<pg.Pool> {
  await psql(
    server.url,
    'DROP TABLE IF EXISTS lines, millrace_positions; CREATE TABLE lines (id bigserial PRIMARY KEY, body text, at bigint); CHECKPOINT',
  )
  return new pg.Pool({ connectionString: server.url })
}

/** Milliseconds from the first record to the last commit. */
const ways: Readonly<Record<string, () => Promise<number>>> = {
  async millrace() {
    const pool = await fresh()
    const db = postgres(pool)
    let began = 0
    let done = 0
    const source = cluster.source({ group: `bench-${Date.now()}`, topics: [input] })
    await lastValueFrom(
      source.pipe(
        withTransaction(
          (slice) => {
            if (slice.partition >= 0 && began === 0) began = performance.now()
            return slice.pipe(toDatabase(db, rows, { batch }))
          },
          { every: Number(values.commit) },
        ),
        tap((commit) => (done += commit.records)),
        takeWhile(() => done < records),
      ),
      { defaultValue: undefined },
    )
    const took = performance.now() - began
    await pool.end()
    return took
  },

  async kafkajs() {
    const pool = await fresh()
    const consumer = new Kafka({ brokers, logLevel: logLevel.NOTHING }).consumer({ groupId: `loop-${Date.now()}` })
    await consumer.connect()
    await consumer.subscribe({ topic: input, fromBeginning: true })
    let began = 0
    let done = 0
    const took = await new Promise<number>((resolve, reject) => {
      void consumer.run({
        eachBatch: async ({ batch: { messages } }) => {
          if (began === 0) began = performance.now()
          try {
            await insert(
              pool,
              messages.map(({ value, timestamp }) => ({ value, timestamp: Number(timestamp) })),
            )
          } catch (error) {
            reject(error as Error)
          }
          if ((done += messages.length) >= records) resolve(performance.now() - began)
        },
      })
    })
    await consumer.disconnect()
    await pool.end()
    return took
  },

  async memory() {
    const pool = await fresh()
    const all = Array.from({ length: records }, (_, i): Row => ({ value: Buffer.from(body(i)), timestamp: i }))
    // As many a transaction as there are in a commit interval at the rate aimed for.
    const began = performance.now()
    for (let from = 0; from < records; from += 8_000) await insert(pool, all.slice(from, from + 8_000))
    const took = performance.now() - began
    await pool.end()
    return took
  },
}

async function insert(pool: pg.Pool, all: readonly Row[]): Promise<void> {
  const client = await pool.connect()
  await client.query('BEGIN')
  const tx: SqlTransaction = { dialect: 'postgres', query: async (sql, params = []) => (await client.query(sql, [...params])).rows as [] }
  for (let from = 0; from < all.length; from += batch) await rows(tx, all.slice(from, from + batch) as unknown as RawRecord[])
  await client.query('COMMIT')
  client.release()
}

function body(i: number): string {
  const head = `{"id":${i},"sku":"sku-${i % 1000}","amount":${i % 97},"note":"`
  return `${head}${'x'.repeat(Math.max(0, 98 - head.length))}"}`
}

try {
  await cluster.createTopics([{ topic: input, partitions: PARTITIONS, config: { 'retention.ms': '-1' } }])
  for (let from = 0; from < records; from += 50_000) {
    const length = Math.min(50_000, records - from)
    await cluster.produce({
      topic: input,
      records: Array.from({ length }, (_, i) => ({
        key: `k${from + i}`,
        value: body(from + i),
        timestamp: from + i,
        partition: (from + i) % PARTITIONS,
      })),
    })
  }
  const rates = new Map(Object.keys(ways).map((name) => [name, [] as number[]]))
  for (let run = 0; run <= Number(values.runs); run++) {
    for (const [name, way] of Object.entries(ways)) {
      const rate = Math.round(records / ((await way()) / 1_000))
      const [counted] = await psql(server.url, 'SELECT count(*) FROM lines')
      if (Number(counted) !== records) throw new Error(`${name} wrote ${counted} rows of ${records}`)
      say(`${run === 0 ? 'warm-up' : `run ${run}`} ${name}: ${rate} rows/s (load ${loadavg()[0]?.toFixed(1)})`)
      if (run > 0) rates.get(name)?.push(rate)
    }
  }
  const result = Object.fromEntries([...rates].map(([name, all]) => [name, median(all)]))
  const ratio = (name: string): number => Number(((result.millrace as number) / (result[name] as number)).toFixed(2))
  const report = {
    cpus: cpus().length,
    records,
    commitMs: Number(values.commit),
    rowsPerSecond: result,
    ratio: { kafkajs: ratio('kafkajs'), memory: ratio('memory') },
  }
  if (values.json) console.log(JSON.stringify(report))
  else {
    console.log(`rows/s into PostgreSQL, ${records} rows of 100 bytes, a commit each ${values.commit} ms, medians of ${values.runs}`)
    for (const [name, rate] of Object.entries(result))
      console.log(`  ${name.padEnd(10)} ${String(rate).padStart(8)}  ${name === 'millrace' ? '' : `millrace is ${ratio(name)} of it`}`)
  }
} finally {
  await cluster.close()
  await server.stop()
  await broker?.stop()
}
