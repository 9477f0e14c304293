import { BatchReader } from '../../src/log/batch/read.js'
import { BatchWriter, type OutputBatch } from '../../src/log/batch/write.js'
import type { Fetched, GroupMember, LogClient, LogProducer, LogReader, ProducerOptions, ReaderOptions } from '../../src/log/port.js'
import { NO_HEADERS } from '../../src/record/headers.js'
import { RecordSource } from '../../src/record/record-source.js'
import type { RawRecord } from '../../src/record/record.js'

let names = 0

/** Tests share brokers: nothing is called the same twice. */
export function uniqueName(what: string): string {
  return `${what}-${process.pid}-${Date.now().toString(36)}-${names++}`
}

/** A topic of its own for one test. */
export async function newTopic(log: LogClient, partitions = 1, config: Readonly<Record<string, string>> = {}): Promise<string> {
  const topic = uniqueName('topic')
  await log.createTopics([{ topic, partitions, config }])
  return topic
}

/** One batch of text values. */
export function batchOf(topic: string, partition: number, values: readonly string[]): OutputBatch {
  const writer = new BatchWriter(topic, partition, 16 * 1024 * 1024)
  for (const value of values) writer.append(null, value, NO_HEADERS, 1_700_000_000_000)
  return writer.take(true)[0] as OutputBatch
}

export async function producer(
  log: LogClient,
  transactionalId: string | undefined,
  options: Partial<ProducerOptions> = {},
): Promise<LogProducer> {
  const made = log.producer({ transactionalId, transactionTimeoutMs: 10_000, compression: 'none', ...options })
  await made.init()
  return made
}

export interface ReadOptions {
  readonly isolation?: ReaderOptions['isolation']
  readonly prefetchBytes?: number
  readonly from?: number
}

export interface ReadPartition {
  readonly records: readonly RawRecord[]
  /** Where the partition continues. */
  readonly nextOffset: number
}

/** What a reader gets of a partition up to its high watermark, which waits for open transactions. */
export async function readPartition(log: LogClient, topic: string, partition: number, options: ReadOptions = {}): Promise<ReadPartition> {
  const [end = 0] = await log.offsets([{ topic, partition }], 'latest')
  const { isolation = 'read_committed', prefetchBytes = 1024 * 1024, from = 0 } = options
  const found: RawRecord[] = []
  let nextOffset = from
  let wake = (): void => {}
  const reader = log.reader({ isolation, prefetchBytes, onData: () => wake() })
  reader.assign([{ topic, partition, offset: from }])
  try {
    while (nextOffset < end) {
      const fetched = reader.take(topic, partition)
      if (fetched === undefined) {
        await new Promise<void>((resolve) => (wake = resolve))
        continue
      }
      if (fetched.fromOffset !== nextOffset) throw new Error(`the reader goes on at ${fetched.fromOffset} instead of ${nextOffset}`)
      nextOffset = fetched.nextOffset
      found.push(...recordsOf(fetched, topic, partition))
    }
    return { records: found, nextOffset }
  } finally {
    reader.close()
  }
}

/** All values of a partition up to its high watermark. */
export async function readAll(log: LogClient, topic: string, partition: number, options: ReadOptions = {}): Promise<string[]> {
  const { records } = await readPartition(log, topic, partition, options)
  return records.map(({ value }) => String(value))
}

/** Takes all that is there, and adds its values. */
export function drain(reader: LogReader, topic: string, partition: number, values: string[]): void {
  for (let fetched = reader.take(topic, partition); fetched !== undefined; fetched = reader.take(topic, partition)) {
    values.push(...recordsOf(fetched, topic, partition).map(({ value }) => String(value)))
  }
}

function recordsOf({ batch, fromOffset }: Fetched, topic: string, partition: number): RawRecord[] {
  if (batch === undefined) return []
  const reader = new BatchReader(batch, new RecordSource({ topic, partition, bytes: batch.bytes }), fromOffset)
  const records: RawRecord[] = []
  for (let record = reader.next(0); record !== undefined; record = reader.next(0)) records.push(record)
  return records
}

/** A subscription to no topic. Brokers read what members of type 'consumer' send, and do not answer at all where it makes no sense. */
export const SUBSCRIPTION = Buffer.from([0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff])

/** A member that has joined a group alone, and sends no heartbeats. */
export async function soleMember(log: LogClient, name: string, sessionTimeoutMs = 10_000): Promise<GroupMember> {
  const group = log.group({ group: name, instanceId: undefined, sessionTimeoutMs, rebalanceTimeoutMs: 10_000 })
  const { memberId, generation } = await group.join('', [{ name: 'test', metadata: SUBSCRIPTION }])
  const member = { group: name, memberId, generation, instanceId: undefined }
  await group.sync(member, new Map([[memberId, Buffer.from('assignment')]]))
  return member
}
