import { BatchReader } from '../../src/log/batch/read.js'
import { BatchWriter, type OutputBatch } from '../../src/log/batch/write.js'
import type { GroupMember, LogClient, LogProducer, LogReader, ProducerOptions, ReaderOptions } from '../../src/log/port.js'
import { NO_HEADERS } from '../../src/record/headers.js'

let names = 0

/** Tests share brokers: nothing is called the same twice. */
export function uniqueName(what: string): string {
  return `${what}-${process.pid}-${Date.now().toString(36)}-${names++}`
}

/** One batch of text values. */
export function batchOf(topic: string, partition: number, values: readonly string[]): OutputBatch {
  const writer = new BatchWriter(topic, partition, 16 * 1024 * 1024)
  for (const value of values) writer.append(null, value, NO_HEADERS, 1_700_000_000_000)
  return writer.take(true)[0] as OutputBatch
}

export async function producer(log: LogClient, transactionalId: string | undefined, options: Partial<ProducerOptions> = {}): Promise<LogProducer> {
  const made = log.producer({ transactionalId, transactionTimeoutMs: 10_000, compression: 'none', ...options })
  await made.init()
  return made
}

export interface ReadOptions {
  readonly isolation?: ReaderOptions['isolation']
  readonly prefetchBytes?: number
  readonly from?: number
}

/** All values of a partition up to its high watermark, which waits for open transactions. */
export async function readAll(log: LogClient, topic: string, partition: number, options: ReadOptions = {}): Promise<string[]> {
  const [end = 0] = await log.offsets([{ topic, partition }], 'latest')
  const { isolation = 'read_committed', prefetchBytes = 1024 * 1024, from = 0 } = options
  const values: string[] = []
  let position = from
  let wake = (): void => {}
  const reader = log.reader({ isolation, prefetchBytes, onData: () => wake() })
  reader.assign([{ topic, partition, offset: from }])
  try {
    while (position < end) {
      const fetched = reader.take(topic, partition)
      if (fetched === undefined) {
        await new Promise<void>((resolve) => (wake = resolve))
        continue
      }
      if (fetched.fromOffset !== position) throw new Error(`the reader goes on at ${fetched.fromOffset} instead of ${position}`)
      position = fetched.nextOffset
      if (fetched.batch === undefined) continue
      const records = new BatchReader(fetched.batch, { topic, partition, bytes: fetched.batch.bytes, marks: undefined }, fetched.fromOffset)
      for (let record = records.next(0); record !== undefined; record = records.next(0)) values.push(String(record.value))
    }
    return values
  } finally {
    reader.close()
  }
}

/** Takes all that is there, and adds its values. */
export function drain(reader: LogReader, topic: string, partition: number, values: string[]): void {
  for (let fetched = reader.take(topic, partition); fetched !== undefined; fetched = reader.take(topic, partition)) {
    if (fetched.batch === undefined) continue
    const records = new BatchReader(fetched.batch, { topic, partition, bytes: fetched.batch.bytes, marks: undefined }, fetched.fromOffset)
    for (let record = records.next(0); record !== undefined; record = records.next(0)) values.push(String(record.value))
  }
}

/** A subscription to no topic. Brokers read what members of type 'consumer' send, and do not answer at all where it makes no sense. */
export const SUBSCRIPTION = Buffer.from([0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff])

/** A member that has joined a group alone, and sends no heartbeats. */
export async function soleMember(log: LogClient, name: string, sessionTimeoutMs = 10_000): Promise<GroupMember> {
  const group = log.group({ group: name, instanceId: undefined, sessionTimeoutMs, rebalanceTimeoutMs: 10_000 })
  const { memberId, generation } = await group.join('', 'test', SUBSCRIPTION)
  const member = { group: name, memberId, generation, instanceId: undefined }
  await group.sync(member, new Map([[memberId, Buffer.from('assignment')]]))
  return member
}
