/** What a member costs that has many tasks and nothing to do: `npx tsx bench/idle.ts --partitions=400 --seconds=20 --json`. */
import { setTimeout as pause } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { kafka } from 'millrace'
import { startKafka } from '../test/support/kafka/broker.js'
import { Member } from './compare/member.js'

const { values } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    partitions: { type: 'string', default: '400' },
    seconds: { type: 'string', default: '20' },
  },
})
const partitions = Number(values.partitions)
const server = process.env['KAFKA_BROKERS'] ? undefined : await startKafka()
const brokers = server?.brokers ?? (process.env['KAFKA_BROKERS'] as string).split(',')
const cluster = kafka({ brokers })
const name = `idle-${Date.now()}`
await cluster.createTopics([`${name}-in`, `${name}-out`].map((topic) => ({ topic, partitions })))
let working: () => void = () => {}
const started = new Promise<void>((resolve) => (working = resolve))
const member = new Member(
  { KAFKA_BROKERS: brokers.join(','), INPUT_TOPIC: `${name}-in`, OUTPUT_TOPIC: `${name}-out`, GROUP: name, COMMIT_MS: '100' },
  () => working(),
)
await cluster.produce({ topic: `${name}-in`, records: [{ key: 'k', value: 'v' }] })
await started
await pause(3_000)
member.signal('SIGUSR2')
const began = performance.now()
await pause(Number(values.seconds) * 1_000)
const elapsed = performance.now() - began
const { cpuMicros, peakMegabytes } = await member.stop()
await cluster.close()
await server?.stop()
const row = {
  tasks: partitions,
  seconds: Math.round(elapsed / 1_000),
  percentOfACore: Number(((cpuMicros / 1_000 / elapsed) * 100).toFixed(2)),
  peakMegabytes: Math.round(peakMegabytes),
}
if (values.json) console.log(JSON.stringify([row]))
else console.table([row])
