/**
 * What a record costs by how many partitions there are, and by how many processes share them: `npx tsx bench/scale.ts --json`.
 */
import { parseArgs } from 'node:util'
import { kafka } from 'millrace'
import { startKafka } from '../test/support/kafka/broker.js'
import { Member } from './compare/member.js'
import { median } from './compare/median.js'
import { orders } from './workloads/inputs.js'

const { values } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    records: { type: 'string', default: '1000000' },
    runs: { type: 'string', default: '3' },
    partitions: { type: 'string', default: '4,40,400,4000' },
    processes: { type: 'string', default: '1,2,4' },
    /** How many partitions the processes share. */
    shared: { type: 'string', default: '40' },
  },
})
const records = Number(values.records)
const say = (text: string): void => void process.stderr.write(`${text}\n`)
const server = process.env['KAFKA_BROKERS'] ? undefined : await startKafka({ heap: '2g' })
const brokers = server?.brokers ?? (process.env['KAFKA_BROKERS'] as string).split(',')
const cluster = kafka({ brokers })

async function measure(partitions: number, processes: number): Promise<Record<string, number>> {
  const name = `scale-${partitions}-${processes}-${Date.now()}`
  const topics = [`${name}-in`, `${name}-out`]
  await cluster.createTopics(topics.map((topic) => ({ topic, partitions, config: { 'retention.ms': '-1' } })))
  await cluster.produce({ topic: topics[0] as string, records: orders(records, 100, partitions).rows() })
  const micros: number[] = []
  const rates: number[] = []
  // The first is not counted: a broker makes the files of a partition when it is first written to.
  for (let run = 0; run <= Number(values.runs); run++) {
    let done = 0
    let began = 0
    let finished: () => void = () => {}
    const all = new Promise<void>((resolve) => (finished = resolve))
    const count = (at: number, count: number): void => {
      began ||= at
      done += count
      if (done >= records) finished()
    }
    const env = {
      KAFKA_BROKERS: brokers.join(','),
      INPUT_TOPIC: topics[0] as string,
      OUTPUT_TOPIC: topics[1] as string,
      GROUP: `${name}-${run}`,
      COMMIT_MS: '100',
    }
    const members = Array.from({ length: processes }, () => new Member(env, count))
    await all
    const seconds = (Date.now() - began) / 1_000
    const ends = await Promise.all(members.map((member) => member.stop()))
    if (run === 0) continue
    // What starting costs is in it: a process that does nothing else is some hundred thousand microseconds, the same in each row.
    micros.push(ends.reduce((sum, { cpuMicros }) => sum + cpuMicros, 0) / records)
    rates.push(records / Math.max(seconds, 0.001))
    say(`${partitions} partitions, ${processes} processes, run ${run}: ${micros.at(-1)?.toFixed(2)} µs`)
  }
  await cluster.deleteTopics(topics)
  return {
    partitions,
    processes,
    cpuMicrosPerRecord: Number(median(micros).toFixed(2)),
    recordsPerSecond: Math.round(median(rates)),
  }
}

const rows: Record<string, number>[] = []
try {
  for (const partitions of values.partitions.split(',')) rows.push(await measure(Number(partitions), 1))
  for (const processes of values.processes.split(',')) rows.push(await measure(Number(values.shared), Number(processes)))
} finally {
  await cluster.close()
  await server?.stop()
}
if (values.json) console.log(JSON.stringify(rows))
else console.table(rows)
