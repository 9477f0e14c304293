import { BatchReader, batchSource, type BatchView } from '../log/batch/read.js'
import type { Fetched, LogClient, LogError, TopicPartition } from '../log/port.js'
import { isOutOfRange, logError, reactionTo } from '../log/error.js'
import { Fresh } from '../log/fresh.js'
import { UNKNOWN_EPOCH } from '../log/leader-epochs.js'
import { UnreadPartitions } from '../log/unread.js'
import { sleep, type Clock } from '../record/clock.js'
import { Turn } from '../record/turn.js'
import { MillraceError, errorMessage } from '../record/error.js'
import type { Logger } from '../record/logger.js'
import { WaitReport } from '../record/wait-report.js'
import type { Origin } from '../record/origin.js'
import type { LogRecord } from '../record/record.js'
import { STATE_HEADER, readStateHeader, stateHeader } from './state-header.js'
import { atOnce } from './at-once.js'
import { loadsLater, type Loading, type StoreSpec, type TaskStore } from './store.js'

type RawLogRecord = LogRecord<Buffer | null, Buffer | null>

const PREFETCH_BYTES = 16 * 1024 * 1024
const RETRY_MS = 200
const MAX_RETRY_MS = 5_000
/** How often progress is told while a long restore goes on. */
const REPORT_MS = 5_000
/** Longest stretch of synchronous work between two turns of the event loop, in milliseconds. */
const TURN_MS = 10

/** A store to fill from one partition of its changelog. */
export interface Restoring {
  readonly spec: StoreSpec
  readonly store: TaskStore
  readonly topic: string
  readonly partition: number
  /** How far it was read, and the leader epoch of that position; undefined before. */
  reached?: number
  reachedEpoch?: number
  /** What is to be read, once that is known. */
  span?: { readonly from: number; readonly to: number }
}

export interface RestoreOptions {
  readonly log: LogClient
  readonly clock: Clock
  readonly logger: Logger
  /** True once the state is no longer wanted. */
  readonly cancelled: () => boolean
  /** Called now and then; what it throws ends the restore. */
  readonly onTurn?: () => void
  readonly onProgress?: (progress: RestoreProgress) => void
}

export interface RestoreProgress {
  /** Records read so far, and how many offsets there are in all. */
  readonly records: number
  readonly offsets: number
  readonly total: number
}

interface Partition extends TopicPartition {
  readonly target: Restoring
  readonly start: number
  readonly end: number
}

/**
 * Reads changelogs from their beginning into stores.
 *
 * To the high watermark, not to the last stable offset: a commit is acknowledged before its markers are written, so what was
 * just committed can lie behind the stable end. Open transactions are waited out. Tombstones, gaps of compaction and trailing
 * control records are passed; a position counts, not the number of records.
 *
 * Ask for the group's committed offsets before: those wait for the commit that a former owner of the task may have under way.
 *
 * @returns false if it was cancelled
 * @throws MillraceError STATE_MISMATCH, CORRUPT_STATE, OFFSET_OUT_OF_RANGE ('retry': the stores are of no use, fill new ones), and what the
 * log refuses
 */
export async function restore(stores: readonly Restoring[], options: RestoreOptions): Promise<boolean> {
  if (stores.length === 0) return true
  const { log, clock, logger, cancelled, onProgress, onTurn } = options
  const [starts, ends] = await Promise.all([log.offsets(stores, 'earliest'), log.offsets(stores, 'latest')])
  const partitions = stores.map((store, i): Partition => {
    // A warm copy goes on from where it stands.
    const [first, end] = [starts[i] as number, ends[i] as number]
    const start = store.reached ?? first
    if (start < first || start > end) throw startMoved({ topic: store.topic, partition: store.partition, offset: start })
    store.reached = start
    store.span = { from: start, to: end }
    return { target: store, topic: store.topic, partition: store.partition, start, end }
  })
  // A copy that was read to the end may have been read to the end of another log.
  const open = new Set(partitions.filter(({ start, end, target }) => start < end || isKnown(target)))
  const total = partitions.reduce((sum, { start, end }) => sum + end - start, 0)
  const began = clock.monotonic()
  let records = 0
  const report = (): RestoreProgress => ({
    records,
    offsets: partitions.reduce((sum, { start, target }) => sum + (target.reached as number) - start, 0),
    total,
  })

  let wake: () => void = () => {}
  let waits: WaitReport | undefined
  const unread = new UnreadPartitions(clock, logger)
  const fresh = new Fresh(open)
  const reader = log.reader({ isolation: 'read_committed', prefetchBytes: PREFETCH_BYTES, onData: () => wake(), onNews: fresh.tell })
  try {
    reader.assign(
      [...open].map(({ topic, partition, start, target }) => ({ topic, partition, offset: start, leaderEpoch: target.reachedEpoch })),
    )
    let reported = began
    const turn = new Turn(clock, TURN_MS)
    while (open.size > 0) {
      if (cancelled()) return false
      onTurn?.()
      const waiting = new Promise<void>((resolve) => (wake = resolve))
      let found = false
      for (const at of fresh.take()) {
        if (!open.has(at)) continue
        const fetched = take(at)
        if (fetched === undefined && at.start === at.end && reader.end(at.topic, at.partition) !== undefined) {
          open.delete(at)
          found = true
        }
        if (fetched === undefined) continue
        found = true
        fresh.keep(at)
        const loaded = loadFetched(at.target, fetched, options)
        records += typeof loaded === 'number' ? loaded : await loaded
        if (fetched.nextOffset >= at.end) open.delete(at)
      }
      const now = clock.monotonic()
      if (now - reported >= REPORT_MS) {
        reported = now
        logger.info({ ...report(), stores: open.size }, 'restoring state')
        onProgress?.(report())
      }
      if (found) {
        waits?.end()
        waits = undefined
      } else {
        const { topic, partition } = open.values().next().value as Partition
        waits ??= new WaitReport(
          clock,
          logger,
          { topic, partition },
          'for state to restore: its log, or the end of a transaction that is open in it',
        )
        // An open transaction can keep the end from view without any data coming: look at `cancelled` now and then.
        const cancel = clock.after(RETRY_MS, () => wake())
        await waiting
        cancel()
      }
      if (found && !turn.isOver) continue
      if (found) await new Promise((resolve) => setImmediate(resolve))
      turn.begin()
    }
  } finally {
    waits?.end()
    reader.close()
  }
  for (const { store } of stores) store.loaded()
  if (total > 0) logger.info({ ...report(), stores: stores.length, ms: Math.round(clock.monotonic() - began) }, 'state restored')
  onProgress?.(report())
  return true

  function take({ topic, partition, target }: Partition): ReturnType<typeof reader.take> {
    try {
      const fetched = reader.take(topic, partition)
      if (fetched !== undefined) unread.passed({ topic, partition })
      return fetched
    } catch (error) {
      if (isOutOfRange(error)) throw startMoved({ topic, partition, offset: target.reached as number }, error)
      if (reactionTo(error) === 'fatal') throw error
      unread.failed({ topic, partition }, error)
      waits?.because(error)
      return undefined
    }
  }
}

function isKnown({ reachedEpoch = UNKNOWN_EPOCH }: Restoring): boolean {
  return reachedEpoch !== UNKNOWN_EPOCH
}

/**
 * What was read so far may hold what has since been deleted: only from the beginning, and into empty stores, does it become what the log
 * holds.
 */
function startMoved(origin: Origin, cause?: unknown): LogError {
  const { topic, partition, offset } = origin
  return logError(
    'OFFSET_OUT_OF_RANGE',
    'retry',
    `${topic}/${partition} was read up to offset ${offset}, which it no longer holds as it was: its beginning was deleted, it was truncated, or it was created anew. The state has to be read from the beginning again`,
    { origin, cause },
  )
}

function* recordsOf(
  { topic, partition }: { readonly topic: string; readonly partition: number },
  batch: BatchView,
  fromOffset: number,
): Generator<RawLogRecord> {
  const reader = new BatchReader(batch, batchSource(topic, partition, batch), fromOffset)
  for (let record = reader.next(-1); record !== undefined; record = reader.next(-1)) yield record
}

/** Loads what a reader handed out; returns how many records it held, or a promise of that where the serde of the store answers later. */
export function loadFetched(target: Restoring, fetched: Fetched, patience: Patience): number | Promise<number> {
  const { batch, fromOffset } = fetched
  const { spec, store, topic, partition } = target
  let count = 0
  if (batch !== undefined && spec.source !== undefined) count = loadBatch(store, topic, partition, batch, fromOffset)
  else if (batch !== undefined) {
    const header = stateHeader(spec)
    const records = recordsOf(target, batch, fromOffset)
    if (loadsLater(store)) return loadLater(target, header, [...records], fetched, patience)
    for (const record of records) {
      void loadRecord(target, header, record)
      count++
    }
  }
  reach(target, fetched)
  return count
}

function reach(target: Restoring, { nextOffset, nextEpoch }: Fetched): void {
  target.reached = nextOffset
  target.reachedEpoch = nextEpoch
}

/** How long serdes are waited for that cannot be asked. */
export interface Patience {
  readonly clock: Clock
  readonly logger: Logger
  /** True once what is loaded is no longer wanted. */
  readonly cancelled: () => boolean
}

async function loadLater(
  target: Restoring,
  header: Buffer,
  records: readonly RawLogRecord[],
  fetched: Fetched,
  { clock, logger, cancelled }: Patience,
): Promise<number> {
  const { topic, partition } = target
  const loads = new Array<() => void>(records.length)
  let report: WaitReport | undefined
  try {
    for (let delay = RETRY_MS; ; delay = Math.min(MAX_RETRY_MS, delay * 2)) {
      try {
        await atOnce(records.length, async (i) => {
          const record = records[i] as RawLogRecord
          try {
            loads[i] ??= (await loadRecord(target, header, record)) as () => void
          } catch (error) {
            throw notState(target, record, error)
          }
        })
        break
      } catch (error) {
        if (!(error instanceof MillraceError && error.code === 'SERDE_UNAVAILABLE')) throw error
        report ??= new WaitReport(clock, logger, { topic, partition }, 'for the serde of state to restore to be able to answer')
        report.because(error)
        await sleep(clock, delay)
      }
      if (cancelled()) return 0
    }
  } finally {
    report?.end()
  }
  // Somebody else may have the store by now.
  if (cancelled()) return 0
  for (const [i, load] of loads.entries()) {
    try {
      load()
    } catch (error) {
      throw notState(target, records[i] as RawLogRecord, error)
    }
  }
  reach(target, fetched)
  return records.length
}

/** Loads a batch of a topic that a view shows; returns how many records it held. Records without a key say nothing about any. */
export function loadBatch(store: TaskStore, topic: string, partition: number, batch: BatchView, fromOffset: number): number {
  let count = 0
  for (const { key, value } of recordsOf({ topic, partition }, batch, fromOffset)) {
    if (key !== null) void store.load(key, value, 0)
    count++
  }
  return count
}

function notState({ spec }: Restoring, record: RawLogRecord, error: unknown): unknown {
  if (error instanceof MillraceError && KNOWN.has(error.code)) return error
  return new MillraceError(
    'CORRUPT_STATE',
    `${record.id} cannot be read as state of '${spec.name}' (${spec.kind}, version ${spec.version}): ${errorMessage(error)}`,
    { origin: record.origin, cause: error },
  )
}

const KNOWN: ReadonlySet<string> = new Set(['STATE_MISMATCH', 'SERDE_UNAVAILABLE', 'CORRUPT_STATE'])

function loadRecord(target: Restoring, header: Buffer, record: RawLogRecord): Loading {
  const { spec, store, topic, partition } = target
  const { key, value } = record
  if (key === null)
    throw new MillraceError(
      'CORRUPT_STATE',
      `${record.id} has no key: something else than '${spec.name}' writes to its changelog '${topic}'`,
      { origin: record.origin },
    )
  try {
    return store.load(key, value, versionOf(record))
  } catch (error) {
    throw notState(target, record, error)
  }

  function versionOf({ source, end }: RawLogRecord): number {
    const at = record.headersStart()
    // Nearly all records carry just the header this store writes.
    if (end - at === header.length && source.bytes.compare(header, 0, header.length, at, end) === 0) return spec.version
    if (value === null) return spec.version
    const found = readStateHeader(record.headers[STATE_HEADER])
    if (found?.kind !== spec.kind) {
      throw new MillraceError(
        'STATE_MISMATCH',
        `the changelog '${topic}' of partition ${partition} holds ${found === undefined ? 'records without a state header' : `state of kind '${found.kind}'`}, and '${spec.name}' is now '${spec.kind}': ` +
          'give the operator another name to start with empty state, or reset the topic with the pipeline stopped',
        { origin: record.origin },
      )
    }
    return found.version
  }
}
