/** The demo's pipeline as a process that can be told to die: at the KILL_AFTER-th time it reaches the step KILL_AT of a transaction. */
import { lastValueFrom } from 'rxjs'
import { kafka, shutdownSignal } from 'millrace'
import { delaysPipeline } from '../../../examples/delays.js'
import { doomed } from '../../support/doomed.js'

const { INPUT = '', OUTPUT = '', LATE = '', GROUP = '' } = process.env

const cluster = kafka(doomed())
await lastValueFrom(delaysPipeline(cluster, { group: GROUP, input: INPUT, output: OUTPUT, late: LATE, signal: shutdownSignal() }), {
  defaultValue: undefined,
})
await cluster.close()
