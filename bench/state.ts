/**
 * State of many keys: how fast it is restored, whether that is linear, what a key weighs in memory beside key and value, and what
 * a commit with few changes costs in a large and in a small store.
 *
 *   npm run bench:state                                  table
 *   npm run bench:state -- --json --runs=3 --keys=10000,1000000
 */
import { spawn } from 'node:child_process'
import { cpus } from 'node:os'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { kafka } from 'millrace'
import { startKafka } from '../test/support/kafka/broker.js'
import { median } from './compare/median.js'

const { values } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    runs: { type: 'string', default: '3' },
    keys: { type: 'string', default: '10000,250000,1000000' },
  },
})
const PARTITIONS = 4
const FEW = 200
const say = (text: string): void => void process.stderr.write(`${text}\n`)

interface Result {
  readonly restored?: { readonly records: number; readonly ms: number; readonly bytes: number }
  readonly commitMs: readonly number[]
}

const server = process.env.KAFKA_BROKERS ? undefined : await startKafka({ heap: '2g' })
const brokers = server?.brokers ?? (process.env.KAFKA_BROKERS as string).split(',')
const cluster = kafka({ brokers })

async function run(env: Record<string, string>): Promise<Result> {
  const child = spawn(
    process.execPath,
    ['--expose-gc', '--import', 'tsx', fileURLToPath(new URL('./programs/state.ts', import.meta.url))],
    {
      env: { ...process.env, KAFKA_BROKERS: brokers.join(','), ...env },
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  )
  let printed = ''
  child.stdout.on('data', (data: Buffer) => (printed += data.toString()))
  const code = await new Promise<number | null>((resolve) => child.on('exit', resolve))
  if (code !== 0) throw new Error(`the program ended with ${code}: ${printed}`)
  return JSON.parse(printed.trim().split('\n').at(-1) as string) as Result
}

const keyOf = (i: number): string => `key-${String(i).padStart(9, '0')}`

async function measure(keys: number): Promise<Record<string, number>> {
  const name = `state-${keys}-${Date.now()}`
  const env = { INPUT_TOPIC: `${name}-in`, OUTPUT_TOPIC: `${name}-out`, GROUP: name }
  await cluster.createTopics([env.INPUT_TOPIC, env.OUTPUT_TOPIC].map((topic) => ({ topic, partitions: PARTITIONS })))
  const produce = (count: number): Promise<number> =>
    cluster.produce({ topic: env.INPUT_TOPIC, records: Array.from({ length: count }, (_, i) => ({ key: keyOf(i), value: '1' })) })
  await produce(keys)
  await run({ ...env, RECORDS: String(keys) })
  const results: Result[] = []
  for (let i = 0; i < Number(values.runs); i++) {
    await produce(FEW)
    const result = await run({ ...env, RECORDS: String(FEW) })
    if (result.restored === undefined) throw new Error('nothing was restored')
    say(`${keys} keys, run ${i + 1}: ${result.restored.records} records in ${result.restored.ms} ms`)
    results.push(result)
  }
  const restores = results.map(({ restored }) => restored as NonNullable<typeof restored>)
  // A key here is text of 13 bytes; a count is a small integer, inside its entry.
  const perKey = median(restores.map(({ bytes }) => bytes / keys)) - keyOf(0).length
  return {
    keys,
    restoreKeysPerSecond: Math.round(median(restores.map(({ records, ms }) => (records / ms) * 1000))),
    bytesPerKeyBesideKeyAndValue: Math.round(perKey),
    commitMsOfFewChanges: median(results.map(({ commitMs }) => median([...commitMs]))),
  }
}

try {
  const rows: Record<string, number>[] = []
  for (const keys of values.keys.split(',')) rows.push(await measure(Number(keys)))
  if (values.json)
    console.log(JSON.stringify({ versions: { node: process.version, cores: cpus().length, runs: Number(values.runs) }, rows }, null, 2))
  else {
    console.log(`medians of ${values.runs}; ${PARTITIONS} partitions; node ${process.version}, ${cpus().length} cores`)
    console.table(rows)
  }
} finally {
  await cluster.close()
  await server?.stop()
}
