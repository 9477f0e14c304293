import { MillraceError } from '../../record/error.js'
import { originalOf, readHop, type HopRecord, type ReadHop } from '../../record/retry-headers.js'
import type { InletSpec } from '../../runtime/context.js'

/** Longest name of a topic. */
const MAX_TOPIC = 249
const DAY_MS = 86_400_000
/** So long a record is kept after it was due, for a pipeline that stands still. */
const KEPT_MS = 30 * DAY_MS
/** More than the headers of a hop take. */
const ROOM_BYTES = 8_192

/** A topic that holds records for one delay. */
export interface Tier {
  readonly delayMs: number
  /** As it is part of the topic's name: the largest unit that leaves a whole number. */
  readonly delay: string
}

export function tiersOf(delays: readonly number[]): Tier[] {
  return delays.map((delayMs) => ({ delayMs, delay: textOf(delayMs) }))
}

function textOf(ms: number): string {
  const units = [
    ['d', DAY_MS],
    ['h', 3_600_000],
    ['m', 60_000],
    ['s', 1_000],
  ] as const
  const [unit, size] = units.find(([, size]) => ms % size === 0) ?? ['ms', 1]
  return `${ms / size}${unit}`
}

/** @throws MillraceError INVALID_OPTIONS if the name gets too long */
export function tierTopic(topic: string, group: string, name: string | undefined, { delay }: Tier): string {
  const full = [topic, group, 'retry', ...(name === undefined ? [] : [name]), delay].join('.')
  if (full.length > MAX_TOPIC || !/^[a-zA-Z0-9._-]+$/.test(full)) {
    throw new MillraceError(
      'INVALID_OPTIONS',
      `retryTopic: '${full}' is no name for a topic: names have at most ${MAX_TOPIC} letters, digits, ".", "_" and "-", and the group is part of it`,
    )
  }
  return full
}

/** How a retry topic is made, held, and read as what its records were made from. */
export function tierInlet(topic: string, { delayMs }: Tier): InletSpec {
  let last: { readonly record: unknown; readonly read: ReadHop | undefined } = { record: undefined, read: undefined }
  // Asked for twice in a row, first when it is due.
  const read = (record: HopRecord): ReadHop | undefined => {
    if (last.record !== record) last = { record, read: readHop(record) }
    return last.read
  }
  return {
    topic,
    // Records carry the time they were written, not their own: old ones are kept as long as new ones.
    config: { 'cleanup.policy': 'delete', 'retention.ms': String(delayMs + KEPT_MS), 'message.timestamp.type': 'CreateTime' },
    roomBytes: ROOM_BYTES,
    due: (record) => read(record as HopRecord)?.hop.due ?? 0,
    original: (record) => {
      const found = read(record as HopRecord)
      // Whoever wrote it there wants it to be taken.
      return found === undefined ? record : originalOf(record as HopRecord, found)
    },
  }
}
