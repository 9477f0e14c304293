import { readNote, type FailureNote } from '../record/failure-headers.js'
import type { HeaderValue } from '../record/headers.js'
import type { Lineage } from '../record/lineage.js'
import { sameOrigin, type Origin } from '../record/origin.js'
import type { RawRecord } from '../record/record.js'
import { timesRedriven } from '../record/redriven.js'

/** Which dead letters are meant: all of what is given must hold. */
export interface LetterFilter {
  /** Text of headers, by name; of one that stands there more than once, any. */
  readonly header?: Readonly<Record<string, string>> | undefined
  /** In the error's class, code or message: a text that stands in one of them, or a pattern that one of them matches. */
  readonly error?: string | RegExp | undefined
  readonly step?: string | undefined
  readonly key?: string | Uint8Array | undefined
  /** Where the letters lie in their topic. */
  readonly at?: readonly { readonly partition: number; readonly offset: number }[] | undefined
  /** The record's own time, in milliseconds since the epoch: from here on. */
  readonly after?: number | undefined
  /** ... and before this. */
  readonly before?: number | undefined
}

/** Where dead letters go. */
export interface LetterRules {
  readonly from: string
  /** Undefined: where each came from. */
  readonly to: string | undefined
  readonly filter: LetterFilter
  readonly maxRedrives: number
  readonly parked: string
}

/** What becomes of a dead letter. */
export interface Fate {
  /** 'left': the filter leaves it out. 'unaddressed': nothing tells where it belongs. Both stay where they are. */
  readonly kind: 'send' | 'park' | 'left' | 'unaddressed'
  /** '' where it stays. */
  readonly target: string
  /** -1: by the key. */
  readonly partition: number
  readonly failure: FailureNote | undefined
  /** How often it was sent back before. */
  readonly times: number
}

export function fateOf(letter: RawRecord, rules: LetterRules): Fate {
  const failure = readNote(letter.headers)
  const times = timesRedriven(letter.headers)
  const fate = (kind: Fate['kind'], target = '', partition = -1): Fate => ({ kind, target, partition, failure, times })
  if (!matches(letter, failure, rules.filter)) return fate('left')
  if (times >= rules.maxRedrives) return fate('park', rules.parked)
  if (rules.to !== undefined) return fate('send', rules.to)
  const { topic = '', partition = -1 } = failure?.origin ?? {}
  // Back into the topic it lies in would be a circle.
  return topic === '' || topic === rules.from ? fate('unaddressed') : fate('send', topic, partition)
}

/** Where the record of a letter comes from, as it goes into `target`; undefined where nothing tells that. */
export function lineageOf(failure: FailureNote | undefined, target: string): Lineage | undefined {
  if (failure === undefined || !isPlace(failure.origin)) return undefined
  const { origin, lineage } = failure
  const first = lineage?.first ?? origin
  const here = lineage?.here ?? origin
  return { first, here: here.topic === target && !sameOrigin(here, first) ? here : undefined }
}

/** Others' letters may tell less. */
function isPlace({ topic, partition, offset }: Origin): boolean {
  return topic !== '' && partition >= 0 && offset >= 0
}

/** The time a record had before it failed: writers other than millrace stamp the letter anew. */
export function timeOf(letter: RawRecord, failure: FailureNote | undefined): number {
  return failure !== undefined && failure.timestamp >= 0 ? failure.timestamp : letter.timestamp
}

/** Whether a letter is meant. */
export function matches(
  letter: RawRecord,
  failure: FailureNote | undefined,
  { header, error, step, key, at, after, before }: LetterFilter,
): boolean {
  if (at?.some(({ partition, offset }) => partition === letter.origin.partition && offset === letter.origin.offset) === false) return false
  if (step !== undefined && failure?.step !== step) return false
  if (error !== undefined && ![failure?.error, failure?.code, failure?.message].some((text) => text !== undefined && has(text, error)))
    return false
  if (key !== undefined && letter.key?.equals(Buffer.from(key as string)) !== true) return false
  const time = timeOf(letter, failure)
  if (after !== undefined && time < after) return false
  if (before !== undefined && time >= before) return false
  return Object.entries(header ?? {}).every(([name, value]) => texts(letter.headers[name]).includes(value))
}

function has(text: string, error: string | RegExp): boolean {
  return typeof error === 'string' ? text.includes(error) : text.search(error) >= 0
}

function texts(value: HeaderValue | undefined): (string | undefined)[] {
  if (value === undefined) return []
  return (Array.isArray(value) ? (value as readonly (Buffer | null)[]) : [value as Buffer | null]).map((one) => one?.toString('utf8'))
}
