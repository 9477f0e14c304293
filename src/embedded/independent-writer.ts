import type { OutputBatch } from '../log/batch/write.js'
import { reactionTo } from '../log/error.js'
import type { ProducerOptions } from '../log/port.js'
import { sleep } from '../record/clock.js'
import { append, nextSequence } from './append.js'
import { compressed } from './compressed.js'
import type { Faults } from './faults.js'
import type { Lifetime } from './lifetime.js'
import type { Identity, Transactions } from './transactions.js'

const DELIVERY_MS = 30_000
const RETRY_MS = 100

/** What is written to one partition, as a producer of its own: what fails there has nothing to do with the others. */
interface Partition {
  queue: Promise<unknown>
  identity: Identity | undefined
  sequence: number
}

/** Writes batches of which each fails alone. */
export class IndependentWriter {
  pendingBytes = 0
  private readonly partitions = new Map<string, Partition>()

  constructor(
    private readonly options: ProducerOptions,
    private readonly transactions: Transactions,
    private readonly faults: Faults,
    private readonly lifetime: Lifetime,
  ) {}

  write(batch: OutputBatch): Promise<number> {
    const name = `${batch.topic}/${batch.partition}`
    const partition = this.partitions.get(name) ?? { queue: Promise.resolve(), identity: undefined, sequence: 0 }
    this.partitions.set(name, partition)
    this.pendingBytes += batch.bytes.length
    const until = this.faults.clock.monotonic() + (this.options.deliveryTimeoutMs ?? DELIVERY_MS)
    const written = partition.queue
      .then(() => this.lifetime.during(() => this.deliver(partition, batch, until)))
      .finally(() => (this.pendingBytes -= batch.bytes.length))
    partition.queue = written.catch(() => {})
    return written
  }

  private async deliver(partition: Partition, batch: OutputBatch, until: number): Promise<number> {
    const { clock } = this.faults
    const names = [batch.topic, `${batch.topic}/${batch.partition}`]
    const records = await compressed(batch, this.options.compression)
    // A try whose answer was lost is known by where it went.
    let offset = -1
    for (;;) {
      try {
        const identity = (partition.identity ??= this.transactions.init(undefined, this.options.transactionTimeoutMs))
        const { sequence } = partition
        await this.faults.run('produce', names, () => {
          const at = append(this.transactions, batch, { identity, sequence, compression: this.options.compression, records })
          if (at >= 0) offset = at
        })
        partition.sequence = nextSequence(sequence, batch)
        return offset
      } catch (error) {
        const again = reactionTo(error) === 'retry' && clock.monotonic() + RETRY_MS < until
        if (!again) {
          // It may be in the log, so its sequence number is used up.
          partition.identity = undefined
          partition.sequence = 0
          throw error
        }
        await sleep(clock, RETRY_MS)
      }
    }
  }
}
