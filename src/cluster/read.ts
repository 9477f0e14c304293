import { z } from 'zod'
import { BatchReader, batchSource } from '../log/batch/read.js'
import { Fresh } from '../log/fresh.js'
import type { LogClient } from '../log/port.js'
import { MillraceError } from '../record/error.js'
import type { RawRecord } from '../record/record.js'
import { parseOptions, topicName } from '../runtime/options.js'

export interface ReadOptions {
  readonly topic: string
  /** 'read_committed' (default) leaves out what was aborted or is still in an open transaction. */
  readonly isolation?: 'read_committed' | 'read_uncommitted'
}

const schema = z.strictObject({ topic: topicName, isolation: z.enum(['read_committed', 'read_uncommitted']).default('read_committed') })

const PREFETCH_BYTES = 8 * 1024 * 1024

/** `cluster.read`: from the beginning to the end as it is when the reading starts. */
export async function* read(openLog: () => Promise<LogClient>, options: ReadOptions): AsyncGenerator<RawRecord> {
  const { topic, isolation } = parseOptions(schema, options, 'read')
  const log = await openLog()
  try {
    await log.connect()
    yield* readRange(log, await rangeOf(log, topic, 'read'), isolation)
  } finally {
    await log.close()
  }
}

export interface Range {
  readonly topic: string
  /** By partition. */
  readonly starts: readonly number[]
  readonly ends: readonly number[]
}

/**
 * All that a topic holds now. Up to the high watermark, not the last stable offset: a broker acknowledges a commit before its markers are
 * written, so the stable end may lie before what was just committed. Open transactions are waited out.
 *
 * @throws MillraceError MISSING_TOPIC
 */
export async function rangeOf(log: LogClient, topic: string, what: string): Promise<Range> {
  const info = (await log.topics([topic])).get(topic)
  if (info === undefined) throw new MillraceError('MISSING_TOPIC', `${what}: topic '${topic}' does not exist`)
  const partitions = Array.from({ length: info.partitions }, (_, partition) => ({ topic, partition }))
  const [starts, ends] = await Promise.all([log.offsets(partitions, 'earliest'), log.offsets(partitions, 'latest')])
  return { topic, starts, ends }
}

/** The records of a range, partitions in turns; ends early when the signal aborts. */
export async function* readRange(
  log: LogClient,
  { topic, starts, ends }: Range,
  isolation: 'read_committed' | 'read_uncommitted',
  signal?: AbortSignal,
): AsyncGenerator<RawRecord> {
  const open = new Set(
    ends.map((end, partition) => ({ topic, partition, end })).filter(({ partition, end }) => end > (starts[partition] as number)),
  )
  const fresh = new Fresh(open)
  let wake: () => void = () => {}
  let waiting = new Promise<void>((resolve) => (wake = resolve))
  const reader = log.reader({ isolation, prefetchBytes: PREFETCH_BYTES, onData: () => wake(), onNews: fresh.tell })
  const onAbort = (): void => wake()
  signal?.addEventListener('abort', onAbort)
  try {
    reader.assign([...open].map(({ partition }) => ({ topic, partition, offset: starts[partition] as number })))
    while (open.size > 0 && signal?.aborted !== true) {
      let found = false
      for (const at of fresh.take()) {
        const { partition, end } = at
        const fetched = open.has(at) ? reader.take(topic, partition) : undefined
        if (fetched === undefined) continue
        found = true
        fresh.keep(at)
        if (fetched.batch !== undefined) {
          const records = new BatchReader(fetched.batch, batchSource(topic, partition, fetched.batch), fetched.fromOffset)
          for (let record = records.next(-1); record !== undefined && record.offset < end; record = records.next(-1)) yield record
        }
        if (fetched.nextOffset >= end) open.delete(at)
      }
      if (!found) {
        await waiting
        waiting = new Promise<void>((resolve) => (wake = resolve))
      }
    }
  } finally {
    signal?.removeEventListener('abort', onAbort)
    reader.close()
  }
}
