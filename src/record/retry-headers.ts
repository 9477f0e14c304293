import { failureHeaders, type FailureNote, type FailureHeaders } from './failure-headers.js'
import { addedHeaders, cutHeaders, findHeader, type AddedHeaders, type HeaderPlace } from './headers.js'
import { lineageText, parseLineage, type Lineage } from './lineage.js'
import { RecordSource, type Retries } from './record-source.js'
import { LogRecord, RAW_ALL } from './record.js'
import { traceHeaders, type TraceHeaders } from './tracing.js'

/** What a record in a retry topic knows: how it is to go on. */
export interface Hop extends Retries {
  /** Where it was first read, and its own time. */
  readonly topic: string
  readonly partition: number
  readonly offset: number
  readonly timestamp: number
  /** Where it came from before, if it was sent back from a dead-letter topic. */
  readonly lineage: Lineage | undefined
  /** The trace it goes on in, where it is followed. */
  readonly trace?: TraceHeaders | undefined
}

export interface ReadHop {
  readonly hop: Hop
  /** The header that tells it; what stands before are the record's own. */
  readonly place: HeaderPlace
}

export type HopRecord = LogRecord<Buffer | null, Buffer | null>

/** The first of the headers of a hop, as JSON: whatever preset wrote the others, this one is read. */
const HOP = 'millrace.retry'
const HOP_BYTES = Buffer.from(HOP)

/** What Spring Kafka has besides the failure, in its own retry topics. */
function springHeaders({ attempt, due, timestamp }: Hop): Record<string, Buffer> {
  const attempts = Buffer.alloc(4)
  attempts.writeInt32BE(attempt)
  return {
    'retry_topic-attempts': attempts,
    'retry_topic-backoff-timestamp': bigInteger(due),
    'retry_topic-original-timestamp': bigInteger(timestamp),
  }
}

/** Java's BigInteger.toByteArray: two's complement, big-endian, as short as it goes. */
function bigInteger(value: number): Buffer {
  const bytes = Buffer.alloc(8)
  bytes.writeBigInt64BE(BigInt(value))
  const sign = value < 0 ? 0xff : 0
  let start = 0
  while (start < 7 && bytes[start] === sign && ((bytes[start + 1] as number) & 0x80) === (sign & 0x80)) start++
  return bytes.subarray(start)
}

/** What a record gets behind its own headers on its way into a retry topic. With `failure` undefined it only waits for another one. */
export function hopHeaders(hop: Hop, failure: FailureNote | undefined, preset: FailureHeaders): AddedHeaders {
  const { attempt, tries, due, behind, topic, partition, offset, timestamp, lineage, trace, firstError, firstMessage } = hop
  // By hand, as it is written for each hop: topic names need no escapes.
  const told =
    `{"attempt":${attempt},"tries":${tries},"due":${due},"behind":${behind},"topic":"${topic}","partition":${partition},"offset":${offset},"timestamp":${timestamp},` +
    `${lineage === undefined ? '' : `"from":"${lineageText(lineage)}",`}${trace === undefined ? '' : `"trace":${JSON.stringify(trace)},`}"firstError":${JSON.stringify(firstError)},"firstMessage":${JSON.stringify(firstMessage)}}`
  return addedHeaders({
    [HOP]: told,
    ...(preset === 'spring' ? springHeaders(hop) : {}),
    ...(failure === undefined ? {} : failureHeaders(failure, preset)),
  })
}

/** What a record of a retry topic tells. Undefined where something else wrote it. */
export function readHop(record: HopRecord): ReadHop | undefined {
  const { bytes } = record.source
  const place = findHeader(bytes, record.headersStart(), HOP_BYTES)
  if (place === undefined) return undefined
  const hop = parsed(bytes.toString('utf8', place.value, place.end))
  return hop === undefined ? undefined : { hop, place }
}

function parsed(text: string): Hop | undefined {
  let hop: (Partial<Hop> & { readonly from?: unknown }) | null
  try {
    hop = JSON.parse(text) as typeof hop
  } catch {
    return undefined
  }
  if (typeof hop !== 'object' || hop === null) return undefined
  const { attempt, tries, due, behind, topic, partition, offset, timestamp, from, trace, firstError, firstMessage } = hop
  const whole = Number.isSafeInteger
  const known = whole(attempt) && whole(tries) && whole(due) && whole(behind) && whole(partition) && whole(offset) && whole(timestamp)
  if (!known || typeof topic !== 'string' || typeof firstError !== 'string' || typeof firstMessage !== 'string') return undefined
  return { ...(hop as Hop), lineage: typeof from === 'string' ? parseLineage(from) : undefined, trace: traceHeaders(trace) }
}

/**
 * The record that a record of a retry topic was made from: where it was first read, its own time, its bytes and headers. What becomes
 * of it counts for the record of the retry topic.
 */
export function originalOf(record: HopRecord, { hop, place }: ReadHop): HopRecord {
  const { topic, partition, offset, timestamp, lineage, trace } = hop
  const bytes = cutHeaders(record.source.bytes, record.start, record.headersStart(), place)
  const readAt = { topic: record.source.topic, offset: record.offset }
  const source = new RecordSource({ topic, partition, bytes, marks: record.source.marks, retries: hop, lineage, readAt, carried: trace })
  return new LogRecord<Buffer | null, Buffer | null>(
    source,
    offset,
    timestamp,
    record.seq,
    0,
    bytes.length,
    RAW_ALL,
    undefined,
    undefined,
    undefined,
  )
}
