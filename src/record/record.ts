import { MillraceError, errorMessage } from './error.js'
import { NO_HEADERS, encodeHeaders, readHeaders, type Headers, type HeadersInput } from './headers.js'
import { readLineage, type Lineage } from './lineage.js'
import { originText, type Origin } from './origin.js'
import { RecordSource, holdsSource, spreadError } from './record-source.js'
import { cursor, readVarint, skipSection } from './varint.js'

/** What `with` may replace; what is left out stays as it is, bytes included. */
export interface RecordPatch<K, V> {
  readonly key?: K
  readonly value?: V
  readonly headers?: HeadersInput
  /** Whole milliseconds since the epoch. */
  readonly timestamp?: number
}

declare const SPREAD: unique symbol

/**
 * One record of a partition.
 *
 * Key, value and headers are decoded when first asked for; a record nobody looks into is copied to its output as bytes.
 * Immutable: `with` derives a new one that keeps the origin.
 *
 * @example
 * const louder = record.with({ value: record.value.toUpperCase() })
 */
export declare abstract class StreamRecord<K, V> {
  /** In the type only: it is what is left in that of `{ ...record }`, which is refused by it. */
  readonly [SPREAD]?: 'spread'
  abstract get key(): K
  abstract get value(): V
  abstract get headers(): Headers
  /**
   * Milliseconds since the epoch, -1 if the record has none. It is what the producer wrote (or the broker, where the topic says
   * LogAppendTime), whatever that is: some write microseconds or nanoseconds by mistake. Beyond 2^53 it is the nearest number, exact to 256
   * for nanoseconds of our days.
   */
  abstract get timestamp(): number
  /** Where it was read; of one that comes out of a retry topic, where it was read before it went there. */
  abstract get origin(): Origin
  /**
   * "topic/partition/offset" of where the record was first read, which stays the same whenever it comes again: after an abort, from a retry
   * topic, after a delay, or sent back by `redrive`. So it serves as an idempotency key. Records that a program writes to a topic itself,
   * by `repartition` too, are new ones there.
   */
  abstract get id(): string
  /** @throws MillraceError INVALID_TIMESTAMP, ENCODE_FAILED for headers that are none */
  abstract with<K2 = K, V2 = V>(patch: RecordPatch<K2, V2>): StreamRecord<K2, V2>
}

/** What a function may not return in place of a value: `{ ...record }`, which has neither key nor value. A record is something else. */
export type NotSpread<V> = HoldsSpread<V> extends 'yes' ? never : unknown
// Two conditions, as in `Handled`: in a generic function an open V is no spread record.
type HoldsSpread<V> = [unknown] extends [V] ? 'no' : [V] extends [StreamRecord<unknown, unknown> | Unspread] ? 'no' : 'yes'
// `object &`, as a type of optional properties alone would want one of them to be there.
type Unspread = string | number | bigint | boolean | symbol | null | undefined | void | (object & { readonly [SPREAD]?: never })

/** A record as it lies in the partition. */
export type RawRecord = StreamRecord<Buffer | null, Buffer | null>

export const RAW_KEY = 1
export const RAW_VALUE = 2
export const RAW_HEADERS = 4
export const RAW_ALL = RAW_KEY | RAW_VALUE | RAW_HEADERS

/**
 * The one implementation of StreamRecord: a window on a fetched batch, with the parts that user code replaced on top.
 * One class and one shape for raw, decoded and derived records, so that every call site stays monomorphic.
 */
export class LogRecord<K, V> implements StreamRecord<K, V> {
  /** Which of key, value and headers are still the bytes of the batch. */
  readonly raw: number
  private k: K | undefined
  private v: V | undefined
  private h: Headers | undefined

  constructor(
    readonly source: RecordSource,
    readonly offset: number,
    readonly timestamp: number,
    /** Number of the record in its slice. */
    readonly seq: number,
    /** Where the key's length stands in `source.bytes`. */
    readonly start: number,
    /** Where the record ends in `source.bytes`. */
    readonly end: number,
    raw: number,
    key: K | undefined,
    value: V | undefined,
    headers: Headers | undefined,
  ) {
    this.raw = raw
    this.k = key
    this.v = value
    this.h = headers
  }

  get key(): K {
    // A raw part is a Buffer or null, never undefined, so undefined means "not looked at yet".
    if (this.k === undefined && this.raw & RAW_KEY) {
      const length = readVarint(this.source.bytes, this.start)
      this.k = this.section(length) as K
    }
    return this.k as K
  }

  get value(): V {
    if (this.v === undefined && this.raw & RAW_VALUE) {
      const length = readVarint(this.source.bytes, this.valueStart())
      this.v = this.section(length) as V
    }
    return this.v as V
  }

  get headers(): Headers {
    if (this.h === undefined) {
      const { bytes } = this.source
      const start = this.headersStart()
      this.h = bytes[start] === 0 ? NO_HEADERS : readHeaders(this.source.handOut(start, this.end), 0)
    }
    return this.h
  }

  get origin(): Origin {
    return { topic: this.source.topic, partition: this.source.partition, offset: this.offset }
  }

  get id(): string {
    return originText(this.first)
  }

  /** Where it was first read. */
  get first(): Origin {
    return this.lineage?.first ?? this.origin
  }

  /** Where it came from, if it was sent back from a dead-letter topic. */
  get lineage(): Lineage | undefined {
    const { lineage, producerId, bytes } = this.source
    if (producerId === undefined || this.start < 0) return lineage
    try {
      return readLineage(bytes, this.headersStart(), producerId)
    } catch {
      // Headers that were written wrong say nothing of it. Whoever reads them, or the record's parts, is told.
      return undefined
    }
  }

  with<K2 = K, V2 = V>(patch: RecordPatch<K2, V2>): LogRecord<K2, V2> {
    let raw = this.raw
    let key = this.k as unknown as K2 | undefined
    let value = this.v as unknown as V2 | undefined
    let headers = this.h
    if ('key' in patch) {
      raw &= ~RAW_KEY
      key = unspread(patch.key, 'a key') as K2
    }
    if ('value' in patch) {
      raw &= ~RAW_VALUE
      value = unspread(patch.value, 'a value') as V2
    }
    if (patch.headers !== undefined) {
      raw &= ~RAW_HEADERS
      // Through the wire form, so that text becomes bytes and what is read back is what will be stored.
      headers = readHeaders(encodeHeaders(patch.headers), 0)
    }
    const timestamp = patch.timestamp === undefined ? this.timestamp : wholeMs(patch.timestamp, `with (${this.id})`)
    return new LogRecord<K2, V2>(this.source, this.offset, timestamp, this.seq, this.start, this.end, raw, key, value, headers)
  }

  /** As `with({ value })`, which has more to look at. */
  withValue<V2>(value: V2): LogRecord<K, V2> {
    return new LogRecord<K, V2>(
      this.source,
      this.offset,
      this.timestamp,
      this.seq,
      this.start,
      this.end,
      this.raw & ~RAW_VALUE,
      this.k,
      unspread(value, 'a value'),
      this.h,
    )
  }

  /** Where the value's length stands. @throws MillraceError DECODE_FAILED */
  valueStart(): number {
    return this.within(skipSection(this.source.bytes, this.start))
  }

  /** Where the header count stands. @throws MillraceError DECODE_FAILED */
  headersStart(): number {
    return this.within(skipSection(this.source.bytes, this.valueStart()))
  }

  /** The part whose length was just read. */
  private section(length: number): Buffer | null {
    if (length < 0) return null
    const { pos } = cursor
    return this.source.handOut(pos, this.within(pos + length))
  }

  /** The parts of a record that was written wrong may go beyond it, and what is there belongs to others. */
  private within(pos: number): number {
    if (pos > this.end)
      throw new MillraceError(
        'DECODE_FAILED',
        `${originText(this.origin)} has parts that go beyond its end: whoever wrote it wrote it wrong`,
        {
          origin: this.origin,
        },
      )
    return pos
  }

  toJSON(): unknown {
    return { ...this.origin, key: this.key, value: this.value, headers: this.headers, timestamp: this.timestamp }
  }
}

/** @throws MillraceError SPREAD_RECORD for what `{ ...record }` made, which no place that takes a value means */
export function unspread<T>(value: T, what: string): T {
  if (holdsSource(value) && !(value instanceof LogRecord)) throw spreadError(what)
  return value
}

/**
 * Which attempt a record is on: 1 as it is first read, 2 when it first comes back from a retry topic, and so on.
 *
 * @example
 * attempt((order) => charge(order.value, { lastChance: deliveryAttempt(order) === 4 }))
 */
export function deliveryAttempt(record: StreamRecord<unknown, unknown>): number {
  return record instanceof LogRecord ? ((record as LogRecord<unknown, unknown>).source.retries?.attempt ?? 1) : 1
}

/** Anything else would be stored as another time, or as none: retention goes by it. */
export function wholeMs(given: number, where: string): number {
  if (Number.isSafeInteger(given)) return given
  const found = typeof given === 'number' ? String(given) : `a ${given === null ? 'null' : typeof given}: ${errorMessage(given)}`
  throw new MillraceError(
    'INVALID_TIMESTAMP',
    `${where}: timestamp must be a whole number of milliseconds since the epoch, got ${found}. Round what has fractions, and take getTime() of a Date`,
  )
}

const NOT_IN_A_LOG = Buffer.alloc(0)

export interface NewRecord<K, V> {
  readonly key: K
  readonly value: V
  readonly headers?: HeadersInput
  readonly timestamp?: number
  readonly origin?: Origin
}

/**
 * Makes a record that was not read from a log: for tests, and for outputs that have no input.
 *
 * Its origin, if none is given, is offset -1 of partition -1 of the topic "".
 *
 * @throws MillraceError INVALID_TIMESTAMP if the timestamp is not a whole number; ENCODE_FAILED for headers that are none; SPREAD_RECORD
 * @example
 * record({ key: 'a', value: { n: 1 }, timestamp: Date.now() })
 */
export function record<K, V>(init: NewRecord<K, V>): StreamRecord<K, V> {
  unspread(init, 'what record() was given')
  const timestamp = init.timestamp === undefined ? -1 : wholeMs(init.timestamp, 'record')
  const { topic, partition, offset } = init.origin ?? { topic: '', partition: -1, offset: -1 }
  const source = new RecordSource({ topic, partition, bytes: NOT_IN_A_LOG })
  const headers = init.headers === undefined ? NO_HEADERS : readHeaders(encodeHeaders(init.headers), 0)
  return new LogRecord<K, V>(
    source,
    offset,
    timestamp,
    -1,
    -1,
    -1,
    0,
    unspread(init.key, 'a key'),
    unspread(init.value, 'a value'),
    headers,
  )
}
