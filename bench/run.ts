/**
 * Throughput of millrace against a hand-written kafkajs loop, side by side on one broker, alternating, medians.
 *
 *   npm run bench                     table
 *   npm run bench -- --json           for machines
 *   npm run bench -- --records=200000 --runs=3 --only=pass
 */
import { spawn } from 'node:child_process'
import { cpus } from 'node:os'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { kafka } from 'millrace'
import { startKafka } from '../test/support/kafka/broker.js'
import { median } from './median.js'
import type { Report } from './programs/report.js'

const { values } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    records: { type: 'string', default: '2000000' },
    runs: { type: 'string', default: '5' },
    partitions: { type: 'string', default: '4' },
    commit: { type: 'string', default: '100' },
    only: { type: 'string', default: 'pass,json' },
    programs: { type: 'string', default: 'kafkajs,millrace' },
  },
})
const records = Number(values.records)
const runs = Number(values.runs)
const modes = values.only.split(',')
const programs = values.programs.split(',')
const say = (text: string): void => void process.stderr.write(`${text}\n`)

const server = process.env.KAFKA_BROKERS ? undefined : await startKafka({ heap: '2g' })
const brokers = server?.brokers ?? (process.env.KAFKA_BROKERS as string).split(',')
const cluster = kafka({ brokers })
const input = `bench-in-${Date.now()}`

function* rows(): Generator<{ key: string; value: string; timestamp: number }> {
  const timestamp = Date.now()
  for (let i = 0; i < records; i++) {
    // 100 bytes of JSON.
    const head = `{"id":${i},"sku":"sku-${i % 1000}","amount":${i % 97},"note":"`
    yield { key: `k${i % 10_000}`, value: `${head}${'x'.repeat(Math.max(0, 98 - head.length))}"}`, timestamp }
  }
}

async function measure(program: string, mode: string): Promise<Report> {
  const output = `bench-out-${Date.now()}`
  await cluster.createTopics([{ topic: output, partitions: Number(values.partitions), config: { 'retention.ms': '-1' } }])
  const child = spawn(
    process.execPath,
    [
      ...(process.env.PROFILE_DIR ? ['--cpu-prof', `--cpu-prof-dir=${process.env.PROFILE_DIR}`] : []),
      '--import',
      'tsx',
      fileURLToPath(new URL(`./programs/${program}.ts`, import.meta.url)),
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
      },
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  )
  let printed = ''
  child.stdout.on('data', (data: Buffer) => (printed += data.toString()))
  const code = await new Promise<number | null>((resolve) => child.on('exit', resolve))
  if (code !== 0) throw new Error(`${program} ${mode} ended with ${code}: ${printed}`)
  let written = 0
  for (const info of (await cluster.topics([output])).values()) written = info.partitions
  await cluster.deleteTopics([output])
  if (written === 0) throw new Error(`${program} ${mode} wrote to no topic`)
  return JSON.parse(printed.trim().split('\n').at(-1) as string) as Report
}

try {
  say(`preloading ${records} records of 100 B`)
  await cluster.createTopics([{ topic: input, partitions: Number(values.partitions), config: { 'retention.ms': '-1' } }])
  await cluster.produce({ topic: input, records: rows() })

  const results = new Map<string, Report[]>()
  for (let run = 1; run <= runs; run++) {
    for (const mode of modes) {
      for (const program of programs) {
        const report = await measure(program, mode)
        const name = `${program} ${mode}`
        results.set(name, [...(results.get(name) ?? []), report])
        say(
          `run ${run}/${runs} ${name}: ${Math.round(report.records / report.seconds)} records/s, ${report.cpuMicrosPerRecord.toFixed(2)} µs CPU, ${Math.round(report.peakMegabytes)} MB`,
        )
      }
    }
  }
  const medians = [...results].map(([name, reports]) => ({
    name,
    recordsPerSecond: Math.round(median(reports.map((report) => report.records / report.seconds))),
    cpuMicrosPerRecord: Number(median(reports.map((report) => report.cpuMicrosPerRecord)).toFixed(2)),
    peakMegabytes: Math.round(Math.max(...reports.map((report) => report.peakMegabytes))),
  }))
  const ratios = modes.map((mode) => {
    const of = (program: string): number => medians.find(({ name }) => name === `${program} ${mode}`)?.recordsPerSecond ?? Number.NaN
    return { mode, millraceOverKafkajs: Number((of('millrace') / of('kafkajs')).toFixed(1)) }
  })
  const versions = {
    node: process.version,
    kafkajs: '2.2.4',
    cores: cpus().length,
    records,
    runs,
    partitions: Number(values.partitions),
    commitMs: Number(values.commit),
  }
  if (values.json) console.log(JSON.stringify({ versions, medians, ratios }, null, 2))
  else {
    console.log(
      `${records} records of 100 B, ${values.partitions} partitions, commit every ${values.commit} ms, medians of ${runs}; node ${process.version}, ${cpus().length} cores`,
    )
    console.table(medians)
    console.table(ratios)
  }
} finally {
  await cluster.close()
  await server?.stop()
}
