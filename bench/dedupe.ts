/**
 * Dedupe in the task's own store, in Redis, and in Redis behind a Bloom filter, against the pass-through, side by side on one broker,
 * alternating, medians.
 *
 *   npm run bench:dedupe                                      table
 *   npm run bench:dedupe -- --json                            for machines
 *   npm run bench:dedupe -- --records=500000 --runs=3 --modes=pass,task --duplicates=10
 *   npm run bench:dedupe -- --duplicates=0 --modes=redis,bloom
 */
import { spawn } from 'node:child_process'
import { cpus } from 'node:os'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { Redis } from 'ioredis'
import { kafka } from 'millrace'
import { startKafka } from '../test/support/kafka/broker.js'
import { startRedis } from '../test/support/redis.js'
import { median } from './compare/median.js'
import type { Report } from './programs/report.js'

const { values } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    records: { type: 'string', default: '2000000' },
    runs: { type: 'string', default: '5' },
    duplicates: { type: 'string', default: '10' },
    /** Minutes of event time that the records span: half of them are out of the window in the end. */
    span: { type: 'string', default: '20' },
    commit: { type: 'string', default: '100' },
    modes: { type: 'string', default: 'pass,task,redis,bloom' },
  },
})
const records = Number(values.records)
const percent = Number(values.duplicates)
const modes = values.modes.split(',')
const PARTITIONS = 4
const say = (text: string): void => void process.stderr.write(`${text}\n`)

const server = process.env.KAFKA_BROKERS ? undefined : await startKafka({ heap: '2g' })
const brokers = server?.brokers ?? (process.env.KAFKA_BROKERS as string).split(',')
const cluster = kafka({ brokers })
const input = `dedupe-in-${Date.now()}`
const expected = Math.ceil((records * (100 - percent)) / 100)

function* rows(): Generator<{ key: string; value: string; timestamp: number }> {
  const began = Date.now() - Number(values.span) * 60_000
  for (let i = 0; i < records; i++) {
    // 100 bytes of JSON. Every so many records one comes again that was there a moment ago.
    const id = i % 100 < percent ? Math.max(0, i - 100 - (i % 7) * 100 + percent) : i
    const head = `{"id":${i},"sku":"sku-${i % 1000}","amount":${i % 97},"note":"`
    yield {
      key: `order-${id}`,
      value: `${head}${'x'.repeat(Math.max(0, 98 - head.length))}"}`,
      timestamp: began + Math.floor((i / records) * Number(values.span) * 60_000),
    }
  }
}

async function measure(mode: string): Promise<Report> {
  const output = `dedupe-out-${Date.now()}`
  await cluster.createTopics([{ topic: output, partitions: PARTITIONS, config: { 'retention.ms': '-1' } }])
  const redis = mode === 'redis' || mode === 'bloom' ? await startRedis() : undefined
  try {
    const child = spawn(
      process.execPath,
      [
        ...(process.env.PROFILE_DIR ? ['--cpu-prof', `--cpu-prof-dir=${process.env.PROFILE_DIR}`] : []),
        '--import',
        'tsx',
        fileURLToPath(new URL('./programs/dedupe.ts', import.meta.url)),
      ],
      {
        env: {
          ...process.env,
          KAFKA_BROKERS: brokers.join(','),
          INPUT_TOPIC: input,
          OUTPUT_TOPIC: output,
          RECORDS: String(records),
          COMMIT_MS: values.commit,
          MODE: mode,
          REDIS_URL: redis?.url ?? '',
          EXPECTED: String(expected),
        },
        stdio: ['ignore', 'pipe', 'inherit'],
      },
    )
    let printed = ''
    child.stdout.on('data', (data: Buffer) => (printed += data.toString()))
    const code = await new Promise<number | null>((resolve) => child.on('exit', resolve))
    if (code !== 0) throw new Error(`${mode} ended with ${code}: ${printed}`)
    const report = JSON.parse(printed.trim().split('\n').at(-1) as string) as Report
    return redis === undefined ? report : { ...report, redisMicrosPerRecord: (await cpuSeconds(redis.url)) * (1e6 / report.records) }
  } finally {
    await redis?.stop()
    await cluster.deleteTopics([output])
  }
}

async function cpuSeconds(url: string): Promise<number> {
  const client = new Redis(url)
  const info = await client.info('cpu')
  client.disconnect()
  return [...info.matchAll(/^used_cpu_(?:sys|user):([\d.]+)/gm)].reduce((sum, [, seconds]) => sum + Number(seconds), 0)
}

try {
  say(`preloading ${records} records of 100 B, ${percent} % of them duplicates`)
  await cluster.createTopics([{ topic: input, partitions: PARTITIONS, config: { 'retention.ms': '-1' } }])
  await cluster.produce({ topic: input, records: rows() })
  const results = new Map<string, Report[]>()
  for (let run = 1; run <= Number(values.runs); run++) {
    for (const mode of modes) {
      const report = await measure(mode)
      results.set(mode, [...(results.get(mode) ?? []), report])
      say(
        `run ${run}/${values.runs} ${mode}: ${Math.round(report.records / report.seconds)} records/s, ${report.cpuMicrosPerRecord.toFixed(2)} µs CPU and ${(report.redisMicrosPerRecord ?? 0).toFixed(2)} µs of Redis, ${Math.round(report.peakMegabytes)} MB, ${report.duplicates} duplicates`,
      )
    }
  }
  const medians = [...results].map(([name, reports]) => ({
    name,
    recordsPerSecond: Math.round(median(reports.map((report) => report.records / report.seconds))),
    cpuMicrosPerRecord: Number(median(reports.map((report) => report.cpuMicrosPerRecord)).toFixed(2)),
    redisMicrosPerRecord: Number(median(reports.map((report) => report.redisMicrosPerRecord ?? 0)).toFixed(2)),
    peakMegabytes: Math.round(Math.max(...reports.map((report) => report.peakMegabytes))),
    duplicates: median(reports.map((report) => report.duplicates ?? 0)),
  }))
  const of = (mode: string): number => medians.find(({ name }) => name === mode)?.recordsPerSecond ?? Number.NaN
  const ratios = {
    taskOverPass: of('task') / of('pass'),
    redisOverPass: of('redis') / of('pass'),
    bloomOverRedis: of('bloom') / of('redis'),
  }
  const rounded = Object.fromEntries(
    Object.entries(ratios)
      .filter(([, ratio]) => !Number.isNaN(ratio))
      .map(([name, ratio]) => [name, Number(ratio.toFixed(2))]),
  )
  const versions = {
    node: process.version,
    cores: cpus().length,
    records,
    duplicatesPercent: percent,
    runs: Number(values.runs),
    partitions: PARTITIONS,
    commitMs: Number(values.commit),
  }
  if (values.json) console.log(JSON.stringify({ versions, medians, ratios: rounded }, null, 2))
  else {
    console.log(
      `${records} records of 100 B, ${percent} % duplicates, window of 10 minutes, ${PARTITIONS} partitions, commit every ${values.commit} ms, medians of ${values.runs}; node ${process.version}, ${cpus().length} cores`,
    )
    console.table(medians)
    console.table(rounded)
  }
} finally {
  await cluster.close()
  await server?.stop()
}
