import { MillraceError } from './error.js'
import { HandOut } from './hand-out.js'
import type { Lineage } from './lineage.js'

/** The way of a record through retry topics so far. */
export interface Retries {
  /** Which attempt this is: 2 when it first comes back. */
  readonly attempt: number
  /** How often its steps were tried before, in place and over all attempts. */
  readonly tries: number
  /** When it was to come back, in milliseconds since the epoch. */
  readonly due: number
  readonly firstError: string
  readonly firstMessage: string
  /** With records of a key kept in order: the offset of the one before it, which has to be done first. -1 for none. */
  readonly behind: number
}

interface SourceParts {
  readonly topic: string
  readonly partition: number
  readonly bytes: Buffer
  readonly marks?: Uint8Array | undefined
  readonly producerId?: bigint | undefined
  readonly retries?: Retries | undefined
  readonly lineage?: Lineage | undefined
  readonly readAt?: ReadAt | undefined
  readonly carried?: Readonly<Record<string, string>> | undefined
}

/** Where a record lies in a topic that a pipeline writes and reads itself. */
export interface ReadAt {
  readonly topic: string
  readonly offset: number
}

/**
 * What all records of one batch share; one object for thousands of records.
 *
 * `{ ...record }` copies the reference to it, and not key and value, which are accessors. So it is what such a copy is told by, and whoever
 * writes or clones one meets `toJSON`, which refuses, and never the bytes, which hold other records too.
 */
export class RecordSource {
  readonly topic: string
  readonly partition: number
  /** The bytes the record positions point into. */
  declare readonly bytes: Buffer
  /** What became of each record of the slice, by `seq`; see runtime/accounting. Undefined outside a slice. */
  readonly marks: Uint8Array | undefined
  /** Of a batch written in a transaction: by whom. What headers tell of a record sent back counts only in the batches of who sent it. */
  readonly producerId: bigint | undefined
  /** Set for a record that comes from a retry topic; it has a source of its own. */
  readonly retries: Retries | undefined
  /** Of a record with a source of its own, which was in a batch before: where it came from, if it was sent back. */
  readonly lineage: Lineage | undefined
  /** Of a record that comes from a retry topic: where it lies there. */
  readonly readAt: ReadAt | undefined
  /** Of a record that waited in a retry topic or a store: the trace it goes on in, whatever its own headers say. */
  readonly carried: Readonly<Record<string, string>> | undefined
  #handOut: HandOut | undefined
  /** A function as a property of its own also has structuredClone and postMessage refuse. */
  readonly toJSON = copyOfARecord

  constructor({ topic, partition, bytes, marks, producerId, retries, lineage, readAt, carried }: SourceParts) {
    this.topic = topic
    this.partition = partition
    this.marks = marks
    this.producerId = producerId
    this.retries = retries
    this.lineage = lineage
    this.readAt = readAt
    this.carried = carried
    Object.defineProperty(this, 'bytes', { value: bytes })
  }

  /** Part of its bytes, for user code. */
  handOut(start: number, end: number): Buffer {
    return (this.#handOut ??= new HandOut()).part(this.bytes, start, end)
  }
}

function copyOfARecord(): never {
  throw spreadError('a value')
}

/** Whether something was made by `{ ...record }`, or is a record. */
export function holdsSource(value: unknown): boolean {
  return typeof value === 'object' && value !== null && (value as { readonly source?: unknown }).source instanceof RecordSource
}

/** Whether something failed for such a copy, wherever in a value it was. */
export function isSpread(error: unknown): error is MillraceError {
  return error instanceof MillraceError && error.code === 'SPREAD_RECORD'
}

export function spreadError(what: string): MillraceError {
  return new MillraceError(
    'SPREAD_RECORD',
    `${what} was spread of a record, { ...record }, which copies its internals and neither key nor value: derive a record with record.with({ value: ... }), or spread what is in it, as in mapValue((value) => ({ ...value, ... }))`,
  )
}
