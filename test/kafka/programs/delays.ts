/** The demo's pipeline as a process that can be told to die: at the KILL_AFTER-th time it reaches the step KILL_AT of a transaction. */
import { lastValueFrom } from 'rxjs'
import { kafka, shutdownSignal } from 'millrace'
import { delaysPipeline } from '../../../examples/delays.js'

const { KAFKA_BROKERS = '', INPUT = '', OUTPUT = '', LATE = '', GROUP = '', KILL_AT, KILL_AFTER = '0' } = process.env

let passed = 0
const cluster = kafka({
  brokers: KAFKA_BROKERS.split(','),
  trace: ({ step, commit }) => {
    if (step === KILL_AT && commit !== false && passed++ >= Number(KILL_AFTER)) process.kill(process.pid, 'SIGKILL')
  },
})
await lastValueFrom(delaysPipeline(cluster, { group: GROUP, input: INPUT, output: OUTPUT, late: LATE, signal: shutdownSignal() }), { defaultValue: undefined })
await cluster.close()
