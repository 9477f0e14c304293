/**
 * Count per key in 10 s windows against Kafka Streams exactly_once_v2, side by side on one broker, alternating, medians.
 *
 *   npm run bench:window                     table
 *   npm run bench:window -- --json           for machines
 *   npm run bench:window -- --records=200000 --runs=3 --programs=millrace,streams
 */
import { spawn } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { kafka } from 'millrace'
import { startKafka } from '../test/support/kafka/broker.js'
import { classPath, resolveKafkaStreams } from '../test/support/kafka/distribution.js'
import { median } from './median.js'
import type { Report } from './programs/report.js'

const { values } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    records: { type: 'string', default: '2000000' },
    runs: { type: 'string', default: '5' },
    keys: { type: 'string', default: '10000' },
    commit: { type: 'string', default: '100' },
    programs: { type: 'string', default: 'streams,streams-in-memory,millrace' },
  },
})
const records = Number(values.records)
const keys = Number(values.keys)
const PARTITIONS = 4
const say = (text: string): void => void process.stderr.write(`${text}\n`)
const here = (name: string): string => fileURLToPath(new URL(`./programs/${name}`, import.meta.url))

const server = process.env.KAFKA_BROKERS ? undefined : await startKafka({ heap: '2g' })
const brokers = server?.brokers ?? (process.env.KAFKA_BROKERS as string).split(',')
const cluster = kafka({ brokers })
const scratch = await mkdtemp(join(tmpdir(), 'millrace-bench-'))
const input = `window-in-${Date.now()}`

function* rows(): Generator<{ key: string; value: string; timestamp: number }> {
  const began = Date.now() - 3_600_000
  for (let i = 0; i < records; i++) {
    // 100 bytes of JSON; 100,000 records a window, so that every key is in each of them.
    const head = `{"id":${i},"sku":"sku-${i % 1000}","amount":${i % 97},"note":"`
    yield {
      key: `k${(i * 7) % keys}`,
      value: `${head}${'x'.repeat(Math.max(0, 98 - head.length))}"}`,
      timestamp: began + Math.floor(i / 10),
    }
  }
}

async function command(program: string): Promise<{ file: string; args: string[]; env: Record<string, string> }> {
  if (program === 'millrace')
    return {
      file: process.execPath,
      args: [
        ...(process.env.PROFILE_DIR ? ['--cpu-prof', `--cpu-prof-dir=${process.env.PROFILE_DIR}`] : []),
        '--import',
        'tsx',
        here('window.ts'),
      ],
      env: {},
    }
  const jars = classPath(await resolveKafkaStreams())
  const state = await mkdtemp(join(scratch, 'state-'))
  return {
    file: 'java',
    args: ['-Xmx2g', '-cp', jars, here('StreamsWindow.java')],
    env: { STATE_DIR: state, STORE: program === 'streams-in-memory' ? 'memory' : 'rocksdb' },
  }
}

async function measure(program: string): Promise<Report> {
  const output = `window-out-${Date.now()}`
  await cluster.createTopics([{ topic: output, partitions: PARTITIONS, config: { 'retention.ms': '-1' } }])
  const { file, args, env } = await command(program)
  const child = spawn(file, args, {
    env: {
      ...process.env,
      ...env,
      KAFKA_BROKERS: brokers.join(','),
      INPUT_TOPIC: input,
      OUTPUT_TOPIC: output,
      RECORDS: String(records),
      COMMIT_MS: values.commit,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let printed = ''
  let errors = ''
  child.stdout.on('data', (data: Buffer) => (printed += data.toString()))
  child.stderr.on('data', (data: Buffer) => (errors += data.toString()))
  const code = await new Promise<number | null>((resolve) => child.on('exit', resolve))
  if (code !== 0) throw new Error(`${program} ended with ${code}: ${printed}\n${errors.slice(-4_000)}`)
  // The programs are compared only if they did the same.
  let results = 0
  let counted = 0
  for await (const { value } of cluster.read({ topic: output })) {
    results++
    counted += (JSON.parse(String(value)) as { result: number }).result
  }
  await cluster.deleteTopics([output])
  const report = JSON.parse(printed.trim().split('\n').at(-1) as string) as Report
  say(`  ${program}: ${results} results over ${counted} records`)
  return report
}

try {
  say(`preloading ${records} records of 100 B, ${keys} keys`)
  await cluster.createTopics([{ topic: input, partitions: PARTITIONS, config: { 'retention.ms': '-1' } }])
  await cluster.produce({ topic: input, records: rows() })
  const programs = values.programs.split(',')
  const results = new Map<string, Report[]>()
  for (let run = 1; run <= Number(values.runs); run++) {
    for (const program of programs) {
      const report = await measure(program)
      results.set(program, [...(results.get(program) ?? []), report])
      say(
        `run ${run}/${values.runs} ${program}: ${Math.round(report.records / report.seconds)} records/s, ${report.cpuMicrosPerRecord.toFixed(2)} µs CPU, ${Math.round(report.peakMegabytes)} MB`,
      )
    }
  }
  const medians = [...results].map(([program, reports]) => ({
    program,
    recordsPerSecond: Math.round(median(reports.map((report) => report.records / report.seconds))),
    cpuMicrosPerRecord: Number(median(reports.map((report) => report.cpuMicrosPerRecord)).toFixed(2)),
    peakMegabytes: Math.round(Math.max(...reports.map((report) => report.peakMegabytes))),
  }))
  const of = (program: string): number => medians.find((row) => row.program === program)?.recordsPerSecond ?? Number.NaN
  const ratios = programs
    .filter((program) => program !== 'millrace')
    .map((program) => ({ against: program, ratio: Number((of('millrace') / of(program)).toFixed(1)) }))
  const versions = {
    node: process.version,
    kafkaStreams: '4.3.1',
    cores: cpus().length,
    records,
    keys,
    runs: Number(values.runs),
    partitions: PARTITIONS,
    commitMs: Number(values.commit),
  }
  if (values.json) console.log(JSON.stringify({ versions, medians, ratios }, null, 2))
  else {
    console.log(
      `${records} records, ${keys} keys, 10 s windows, ${PARTITIONS} partitions, commit every ${values.commit} ms, medians of ${values.runs}; node ${process.version}, ${cpus().length} cores`,
    )
    console.table(medians)
    console.table(ratios)
  }
} finally {
  await cluster.close()
  await server?.stop()
  await rm(scratch, { recursive: true, force: true })
}
