import type { Clock } from '../record/clock.js'
import { MillraceError, errorMessage } from '../record/error.js'
import type { Logger } from '../record/logger.js'
import { isOutOfRange, reactionTo } from './error.js'
import type { SkippedBatch, TopicPartition } from './port.js'

/** A partition that cannot be read right now. */
export interface UnreadPartition extends TopicPartition {
  /** Where reading stands. */
  readonly offset: number | undefined
  /** Code and message of what its reading fails with. */
  readonly code: string
  readonly error: string
}

interface Known {
  readonly partition: UnreadPartition
  readonly since: number
  tellAt: number
  pause: number
}

const FIRST_PAUSE_MS = 5_000
const LONGEST_PAUSE_MS = 300_000

/** Whether the other partitions can go on while this one is tried again: its place is still there, and so is its topic. */
export function canWait(error: unknown): boolean {
  return reactionTo(error) === 'retry' && !isOutOfRange(error) && !(error instanceof MillraceError && error.code === 'MISSING_TOPIC')
}

/** The partitions that cannot be read: told at once, and again at growing intervals for as long as that lasts. */
export class UnreadPartitions {
  private readonly known = new Map<string, Known>()

  constructor(
    private readonly clock: Clock,
    private readonly logger: Logger,
  ) {}

  failed({ topic, partition }: TopicPartition, error: unknown): void {
    const now = this.clock.monotonic()
    const name = `${topic}/${partition}`
    const before = this.known.get(name)
    const code = error instanceof MillraceError ? error.code : 'CORRUPT_BATCH'
    const offset = error instanceof MillraceError ? error.origin?.offset : undefined
    const { since = now, tellAt = now, pause = FIRST_PAUSE_MS } = before ?? {}
    const known = { partition: { topic, partition, offset, code, error: errorMessage(error) }, since, tellAt, pause }
    this.known.set(name, known)
    if (now < tellAt) return
    known.tellAt = now + pause
    known.pause = Math.min(LONGEST_PAUSE_MS, pause * 2)
    this.logger.error(
      { ...known.partition, forMs: now - since },
      'a partition cannot be read; it is tried again, and what does not need it goes on',
    )
  }

  passed({ topic, partition }: TopicPartition): void {
    const name = `${topic}/${partition}`
    const known = this.known.get(name)
    if (known === undefined) return
    this.known.delete(name)
    this.logger.warn({ topic, partition, afterMs: this.clock.monotonic() - known.since }, 'a partition can be read again')
  }

  skipped({ topic, partition, firstOffset, lastOffset, error }: SkippedBatch): void {
    this.logger.error(
      { topic, partition, firstOffset, lastOffset, error: errorMessage(error) },
      'offsets were skipped: the batch that holds them cannot be read',
    )
  }

  list(): readonly UnreadPartition[] {
    return [...this.known.values()].map(({ partition }) => partition)
  }

  clear(): void {
    this.known.clear()
  }
}
