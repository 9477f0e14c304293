import { Observable, Subject, type Subscriber } from 'rxjs'
import { isOutOfRange, reactionTo, truncationOf } from '../log/error.js'
import { Fresh } from '../log/fresh.js'
import type { LogReader, Position, TopicPartition } from '../log/port.js'
import { BatchReader, batchSource } from '../log/batch/read.js'
import { canWait, UnreadPartitions } from '../log/unread.js'
import { sleep } from '../record/clock.js'
import { type MillraceError } from '../record/error.js'
import type { RawRecord } from '../record/record.js'
import { Membership } from '../runtime/group/membership.js'
import { persist, type Persistence } from '../runtime/persist.js'
import { checkPlan } from '../runtime/plan-check.js'
import type { PipelineHost } from '../runtime/host.js'
import type { SourceSettings } from '../runtime/settings.js'
import { openTasks } from '../runtime/start.js'
import { TopicWatch } from '../runtime/topic-watch.js'
import { Wakeup, nextTurn } from '../runtime/wakeup.js'
import type { PartitionStream } from './partition-stream.js'

const RETRY_MS = 500

class PlainStream extends Observable<RawRecord> implements PartitionStream {
  /** Where the reader stands, by topic. */
  readonly positions: Map<string, Position>
  private readonly records = new Subject<RawRecord>()
  private readonly gone = new Subject<void>()

  constructor(
    readonly topics: readonly string[],
    readonly partition: number,
    start: readonly Position[],
  ) {
    super((subscriber) => this.records.subscribe(subscriber))
    this.positions = new Map(start.map((at) => [at.topic, at]))
  }

  get revoked(): Observable<void> {
    return this.gone.asObservable()
  }

  push(record: RawRecord): void {
    this.records.next(record)
  }

  revoke(): void {
    this.gone.next()
    this.gone.complete()
    this.records.complete()
  }
}

/** A topic of a stream. */
interface Fed extends TopicPartition {
  readonly stream: PlainStream
}

/** A source subscribed without withTransaction: takes part in the group and hands records out; commits nothing. */
export function streamPartitions(settings: SourceSettings, host: PipelineHost, subscriber: Subscriber<PartitionStream>): () => void {
  const stopping = new AbortController()
  const wakeup = new Wakeup(host.clock)
  const stop = (): void => {
    stopping.abort()
    wakeup.wake()
  }
  if (settings.signal?.aborted === true) stop()
  settings.signal?.addEventListener('abort', stop)
  run(settings, host, subscriber, stopping.signal, wakeup).then(
    () => subscriber.complete(),
    (error: unknown) => subscriber.error(error),
  )
  return () => {
    settings.signal?.removeEventListener('abort', stop)
    stop()
  }
}

async function run(
  settings: SourceSettings,
  host: PipelineHost,
  subscriber: Subscriber<PartitionStream>,
  signal: AbortSignal,
  wakeup: Wakeup,
): Promise<void> {
  const { group, instanceId, topics, sessionTimeout, rebalanceTimeout, prefetchBytes, onOutOfRange, onUnreadable, startWithin } = settings
  const { clock, logger } = host
  const unread = new UnreadPartitions(clock, logger)
  const log = await host.openLog()
  try {
    const persistence = (what: string): Persistence => ({ what, fields: { group }, clock, logger, signal })
    const plan = { inputs: topics, outputs: [], inlets: [], stores: [] }
    await persist({ ...persistence('for the cluster, to start'), withinMs: startWithin }, async () => {
      await log.connect()
      await checkPlan(plan, log, undefined)
    })
    if (signal.aborted) return
    const watch = new TopicWatch({ plan, log, clock, logger, onOutputs: () => {}, onNews: () => wakeup.wake() })
    const fresh = new Fresh<Fed>()
    const reader = log.reader({
      isolation: 'read_committed',
      prefetchBytes,
      onData: () => wakeup.wake(),
      onNews: fresh.tell,
      onSkipped: onUnreadable === 'skip' ? (batch) => unread.skipped(batch) : undefined,
    })
    const membership = new Membership(
      log.group({ group, instanceId, sessionTimeoutMs: sessionTimeout, rebalanceTimeoutMs: rebalanceTimeout }),
      {
        group,
        instanceId,
        topics,
        changingTopics: settings.changingTopics,
        innerTopics: [],
        stateful: false,
        sessionTimeoutMs: sessionTimeout,
        outlastMs: sessionTimeout + rebalanceTimeout,
        standbys: 0,
        warm: () => [],
        address: undefined,
        clock,
        logger,
        onChange: () => wakeup.wake(),
      },
    )
    try {
      while (!signal.aborted) {
        const assignment = await membership.join(() => watch.count(), signal)
        if (assignment === undefined) return
        const tasks = await persist(persistence('to know where its partitions begin'), () =>
          openTasks(
            {
              log,
              reader,
              settings,
              clock,
              earlier: [],
              uninterrupted: false,
              stores: [],
              warmCopy: () => undefined,
              inlets: [],
              unread,
              onPositions: () => {},
            },
            assignment.tasks,
          ),
        )
        if (tasks === undefined) return
        const streams = tasks.map((task) => new PlainStream(topics, task.partition, task.fetchPositions()))
        fresh.reset(streams.flatMap((stream) => topics.map((topic) => ({ topic, partition: stream.partition, stream }))))
        for (const stream of streams) subscriber.next(stream)
        while (membership.state === 'stable' && !signal.aborted && !watch.news) {
          watch.lookIfDue()
          let fed = 0
          for (const at of fresh.take()) {
            const taken = await feed(reader, at.topic, at.stream, streams)
            if (taken > 0) fresh.keep(at)
            fed += taken
          }
          if (fed === 0) await wakeup.wait(watch.waitMs)
          else await nextTurn()
        }
        for (const stream of streams) stream.revoke()
        if (membership.state === 'fatal') throw membership.failure
        watch.raise()
      }
    } finally {
      await membership.leave()
    }
  } finally {
    await log.close()
  }

  async function feed(reader: LogReader, topic: string, stream: PlainStream, streams: readonly PlainStream[]): Promise<number> {
    const { partition } = stream
    try {
      const fetched = reader.take(topic, partition)
      if (fetched === undefined) return 0
      unread.passed({ topic, partition })
      stream.positions.set(topic, { topic, partition, offset: fetched.nextOffset, leaderEpoch: fetched.nextEpoch })
      if (fetched.batch !== undefined) {
        const records = new BatchReader(fetched.batch, batchSource(topic, partition, fetched.batch), fetched.fromOffset)
        for (let record = records.next(0); record !== undefined; record = records.next(0)) stream.push(record)
      }
      return 1
    } catch (error) {
      const failure = isOutOfRange(error) && onOutOfRange !== 'stop' ? await relocated(error, onOutOfRange) : error
      if (failure === undefined) return 0
      if (reactionTo(failure) === 'fatal' || isOutOfRange(failure)) throw failure
      unread.failed({ topic, partition }, failure)
      if (canWait(failure)) return 0
      await sleep(clock, RETRY_MS, signal)
      return 0
    }

    /** Goes on elsewhere; what that fails with, or undefined. */
    async function relocated(error: MillraceError, at: 'earliest' | 'latest'): Promise<unknown> {
      const { origin } = error
      const shared = at === 'earliest' ? truncationOf(error)?.goesOnAt : undefined
      try {
        const offset = shared?.offset ?? (await log.offsets([{ topic, partition }], at))[0]
        logger.warn({ origin, offset, onOutOfRange: at }, 'the log no longer holds what was to be read next; going on at another offset')
        stream.positions.set(topic, { topic, partition, offset: offset as number, leaderEpoch: shared?.leaderEpoch })
        reader.assign(streams.flatMap(({ positions }) => [...positions.values()]))
        return undefined
      } catch (failure) {
        return failure
      }
    }
  }
}
