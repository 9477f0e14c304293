/**
 * A process that redrives a topic and can be told to die: KILL_AT names a step of the transaction, KILL_AFTER how often it is let pass. The first
 * transaction is the one that says where to begin.
 */
import { redriveWith } from '../../../src/cluster/redrive.js'
import { kafka, silentLogger } from '../../../src/index.js'

const { KAFKA_BROKERS = '', FROM = '', KILL_AT, KILL_AFTER = '0', GUARANTEE = 'exactly-once', EVERY = '30' } = process.env

let passed = 0
const cluster = kafka({
  brokers: KAFKA_BROKERS.split(','),
  logger: silentLogger,
  trace: ({ step, commit }) => {
    // SIGKILL at once: no handler, no flush, no goodbye to the broker.
    if (step === KILL_AT && commit !== false && passed++ >= Number(KILL_AFTER)) process.kill(process.pid, 'SIGKILL')
  },
})

// streamBytes: full batches go out while the slice runs, before the note of what was sent.
console.log(JSON.stringify(await redriveWith(cluster, { from: FROM }, { every: Number(EVERY), maxRecords: 100, streamBytes: 1, guarantee: GUARANTEE as 'exactly-once' | 'at-least-once' })))
await cluster.close()
