/**
 * A process that redrives a topic and can be told to die: KILL_AT names a step of the transaction, KILL_AFTER how often it is let pass. The
 * first transaction is the one that says where to begin.
 */
import { redriveWith } from '../../../src/redrive/redrive.js'
import { kafka, silentLogger } from '../../../src/index.js'
import { doomed } from '../../support/doomed.js'

const { FROM = '', GUARANTEE = 'exactly-once', EVERY = '30' } = process.env

const cluster = kafka({ ...doomed(), logger: silentLogger })

// streamBytes: full batches go out while the slice runs, before the note of what was sent.
console.log(
  JSON.stringify(
    await redriveWith(
      cluster,
      { from: FROM },
      { every: Number(EVERY), maxRecords: 100, streamBytes: 1, guarantee: GUARANTEE as 'exactly-once' | 'at-least-once' },
    ),
  ),
)
await cluster.close()
