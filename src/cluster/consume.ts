import { z } from 'zod'
import { BatchReader, batchSource } from '../log/batch/read.js'
import { reactionTo } from '../log/error.js'
import type { Fetched, LogClient, LogReader, OffsetAt, Position, TopicPartition } from '../log/port.js'
import type { Clock } from '../record/clock.js'
import type { Logger } from '../record/logger.js'
import { MillraceError } from '../record/error.js'
import type { RawRecord } from '../record/record.js'
import { Membership } from '../runtime/group/membership.js'
import { parseOptions, timeLimit, topicName } from '../runtime/options.js'
import { ConsumeCommits } from './consume-commits.js'

export interface ConsumeOptions {
  readonly topics: readonly string[]
  /** Shares the partitions with others of the group, and commits positions. Default: all partitions, nothing is committed. */
  readonly group?: string
  /** Where to begin; in a group, where nothing is committed. Default 'earliest'. */
  readonly from?: 'earliest' | 'latest' | { readonly timestamp: number }
  /** 'end' ends at what is there when the reading begins. Default: goes on for ever. */
  readonly until?: 'end'
  /** Ends the loop, as `break` does. */
  readonly signal?: AbortSignal
  /** In a group: without a heartbeat for this long, others get the partitions. Milliseconds or '10s'. Default '10s'. */
  readonly sessionTimeout?: number | `${number}${'ms' | 's' | 'm'}`
}

const schema = z.strictObject({
  topics: z.array(topicName).min(1),
  group: z.string().min(1).optional(),
  from: z
    .union([z.enum(['earliest', 'latest']), z.strictObject({ timestamp: z.number() })], {
      message: "expected 'earliest', 'latest' or { timestamp }",
    })
    .default('earliest'),
  until: z.literal('end', { message: "expected 'end'" }).optional(),
  signal: z.custom<AbortSignal>((given) => given instanceof AbortSignal, { message: 'expected an AbortSignal' }).optional(),
  sessionTimeout: timeLimit.default(10_000),
})

export interface ConsumeHost {
  readonly openLog: () => Promise<LogClient>
  readonly clock: Clock
  readonly logger: Logger
  readonly signal: AbortSignal
}

/** Fetched and not yet asked for, at most; then fetching waits. */
const PREFETCH_BYTES = 8 * 1024 * 1024
const REBALANCE_MS = 60_000

type Settings = z.output<typeof schema>

/** `cluster.consume`: see there. */
export async function* consume(host: ConsumeHost, options: ConsumeOptions): AsyncGenerator<RawRecord> {
  const settings = parseOptions(schema, options, 'consume')
  const log = await host.openLog()
  const signal = AbortSignal.any([host.signal, ...(settings.signal === undefined ? [] : [settings.signal])])
  const reading = new Reading(log, settings, signal)
  try {
    await log.connect()
    if (settings.group === undefined) yield* reading.records(await reading.partitions(), () => true)
    else yield* inGroup(host, log, settings, settings.group, reading, signal)
  } finally {
    reading.close()
    await log.close()
  }
}

async function* inGroup(
  { clock, logger }: ConsumeHost,
  log: LogClient,
  { topics, sessionTimeout }: Settings,
  group: string,
  reading: Reading,
  signal: AbortSignal,
): AsyncGenerator<RawRecord> {
  const producer = log.producer({ transactionalId: undefined, transactionTimeoutMs: 60_000, compression: 'none' })
  await producer.init()
  const member = { group, instanceId: undefined, sessionTimeoutMs: sessionTimeout }
  const membership = new Membership(log.group({ ...member, rebalanceTimeoutMs: REBALANCE_MS }), {
    ...member,
    topics,
    changingTopics: [],
    innerTopics: [],
    stateful: false,
    standbys: 0,
    warm: () => [],
    address: undefined,
    clock,
    logger,
    onChange: () => reading.wake(),
  })
  const commits = new ConsumeCommits(producer, logger, () => membership.lose())
  try {
    while (!signal.aborted) {
      const assignment = await membership.join(
        async () => Math.max(...(await reading.partitions()).map(({ partition }) => partition + 1)),
        signal,
      )
      if (assignment === undefined) return
      commits.begin(assignment.member)
      const tasks = new Set(assignment.tasks)
      const partitions = (await reading.partitions()).filter(({ partition }) => tasks.has(partition))
      const committed = await log.committedPositions(group, partitions)
      yield* reading.records(
        partitions,
        () => membership.state === 'stable',
        committed,
        (position) => commits.done(position),
      )
      await commits.finish()
      if (membership.state === 'fatal') throw membership.failure
      if (membership.state === 'stable') return
    }
  } finally {
    await commits.finish()
    await membership.leave()
  }
}

class Reading {
  private readonly reader: LogReader
  private waiting: Promise<void>
  wake: () => void = () => {}

  constructor(
    private readonly log: LogClient,
    private readonly settings: Settings,
    private readonly signal: AbortSignal,
  ) {
    this.waiting = new Promise((resolve) => (this.wake = resolve))
    this.reader = log.reader({ isolation: 'read_committed', prefetchBytes: PREFETCH_BYTES, onData: () => this.wake() })
    signal.addEventListener('abort', this.onAbort)
  }

  close(): void {
    this.signal.removeEventListener('abort', this.onAbort)
    this.reader.close()
  }

  /** @throws MillraceError MISSING_TOPIC */
  async partitions(): Promise<TopicPartition[]> {
    const infos = await this.log.topics(this.settings.topics)
    return this.settings.topics.flatMap((topic) => {
      const info = infos.get(topic)
      if (info === undefined) throw new MillraceError('MISSING_TOPIC', `consume: topic '${topic}' does not exist`)
      return Array.from({ length: info.partitions }, (_, partition) => ({ topic, partition }))
    })
  }

  /** From where each goes on, partitions in turns, as long as `mayGoOn`; `onDone` is told when the next record is asked for. */
  async *records(
    partitions: readonly TopicPartition[],
    mayGoOn: () => boolean,
    committed: readonly (Position | undefined)[] = [],
    onDone: (position: Position) => void = () => {},
  ): AsyncGenerator<RawRecord> {
    const goesOn = (): boolean => !this.signal.aborted && mayGoOn()
    const [starts, ends] = await Promise.all([
      this.log.offsets(partitions, this.settings.from as OffsetAt),
      this.settings.until === undefined ? undefined : this.log.offsets(partitions, 'latest'),
    ])
    const positions = partitions.map((at, i): Position => committed[i] ?? { ...at, offset: starts[i] as number })
    const endOf = (i: number): number => ends?.[i] ?? Number.POSITIVE_INFINITY
    const open = new Set(positions.keys())
    for (const i of open) if ((positions[i] as Position).offset >= endOf(i)) open.delete(i)
    this.reader.assign([...open].map((i) => positions[i] as Position))
    while (goesOn() && (open.size > 0 || ends === undefined)) {
      let found = false
      for (const i of open) {
        const at = partitions[i] as TopicPartition
        const fetched = this.take(at)
        if (fetched === undefined) continue
        found = true
        const { batch, nextOffset, nextEpoch } = fetched
        if (batch !== undefined) {
          const records = new BatchReader(batch, batchSource(at.topic, at.partition, batch), fetched.fromOffset)
          for (let record = records.next(-1); record !== undefined && record.offset < endOf(i); record = records.next(-1)) {
            if (!goesOn()) return
            yield record
            onDone({ ...at, offset: record.offset + 1 })
          }
        }
        if (nextOffset >= endOf(i)) open.delete(i)
        else onDone({ ...at, offset: nextOffset, leaderEpoch: nextEpoch })
        if (!goesOn()) return
      }
      if (!found) {
        await this.waiting
        this.waiting = new Promise((resolve) => (this.wake = resolve))
      }
    }
  }

  /** What can be cured by trying again, the reader tries again by itself. */
  private take({ topic, partition }: TopicPartition): Fetched | undefined {
    try {
      return this.reader.take(topic, partition)
    } catch (error) {
      if (reactionTo(error) === 'retry') return undefined
      throw error
    }
  }

  private readonly onAbort = (): void => this.wake()
}
