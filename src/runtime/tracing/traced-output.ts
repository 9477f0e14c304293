import type { Encoded } from '../../log/batch/write.js'
import type { TopicInfo } from '../../log/port.js'
import { encodeHeaders, readHeaders, replaceHeaders, type HeadersInput, type HeaderValue } from '../../record/headers.js'
import { RAW_HEADERS, type LogRecord } from '../../record/record.js'
import type { Trace } from '../../record/tracing.js'
import { TopicOutput } from '../outputs.js'
import type { PipelineTraces } from './traces.js'

type AnyRecord = LogRecord<unknown, unknown>

/** Writes, with each record that is made of one that is followed, the headers by which the next program goes on following it. */
export class TracedTopicOutput extends TopicOutput {
  private readonly fields: ReadonlySet<string>

  constructor(
    info: TopicInfo,
    checkSize: boolean,
    private readonly traces: PipelineTraces,
  ) {
    super(info.topic, info.partitions, info.maxMessageBytes, checkSize)
    this.fields = new Set(traces.tracer.fields)
  }

  override appendRaw(record: AnyRecord, partition: number): void {
    const trace = this.traceOf(record)
    if (trace === undefined) super.appendRaw(record, partition)
    else this.put(record, partition, record.key as Encoded, record.value as Encoded, this.section(record, undefined, trace), undefined)
  }

  override appendValue(record: AnyRecord, partition: number, value: Encoded): void {
    const trace = this.traceOf(record)
    if (trace === undefined) super.appendValue(record, partition, value)
    else this.put(record, partition, record.key as Encoded, value, this.section(record, undefined, trace), undefined)
  }

  override append(record: AnyRecord, partition: number, key: Encoded, value: Encoded, headers: HeadersInput | undefined): void {
    const trace = this.traceOf(record)
    if (trace === undefined) super.append(record, partition, key, value, this.passedOn(record, headers))
    else this.put(record, partition, key, value, this.section(record, headers, trace), headers)
  }

  override appendWhole(
    record: AnyRecord,
    partition: number,
    key: Uint8Array | null,
    value: Uint8Array | null,
    headers: Buffer,
    timestamp = record.timestamp,
  ): void {
    const section = this.whole(record, headers)
    // A record that fits without them is not refused for the sake of these headers.
    const fits = super.excessBytes(record, key, value, section) <= 0
    super.appendWhole(record, partition, key, value, fits ? section : headers, timestamp)
  }

  override excessBytes(record: AnyRecord, key: Uint8Array | null, value: Uint8Array | null, headers: Buffer): number {
    return super.excessBytes(record, key, value, this.whole(record, headers))
  }

  /** As `appendWhole`: without the section where it would be too much. */
  private put(
    record: AnyRecord,
    partition: number,
    key: Encoded,
    value: Encoded,
    section: Buffer,
    otherwise: HeadersInput | undefined,
  ): void {
    const fits = this.fits((key?.length ?? 0) + (value?.length ?? 0) + section.length)
    super.append(record, partition, key, value, fits ? section : otherwise)
  }

  private traceOf(record: AnyRecord): Trace | undefined {
    const trace = this.traces.of(record)
    trace?.touch()
    return trace
  }

  private whole(record: AnyRecord, headers: Buffer): Buffer {
    const trace = this.traceOf(record)
    return trace === undefined ? headers : replaceHeaders(headers, 0, this.fields, trace.headers)
  }

  /** The headers a record is to have, those of the trace in place of what it was read with. */
  private section(record: AnyRecord, given: HeadersInput | undefined, { headers }: Trace): Buffer {
    if (given === undefined && record.raw & RAW_HEADERS)
      return replaceHeaders(record.source.bytes, record.headersStart(), this.fields, headers)
    const made = encodeHeaders(given ?? record.headers)
    const own = this.namedByProgram(record, given ?? record.headers)
    if (own.size === 0) return replaceHeaders(made, 0, this.fields, headers)
    const ours = Object.keys(headers).filter((name) => !own.has(name) && !(name === 'tracestate' && own.has('traceparent')))
    return replaceHeaders(made, 0, new Set(ours), Object.fromEntries(ours.map((name) => [name, headers[name] as string])))
  }

  /** Which of the trace headers the program set itself: those that are not what the record was read with. */
  private namedByProgram(record: AnyRecord, made: HeadersInput): Set<string> {
    const own = new Set<string>()
    const read = record.start < 0 ? {} : readHeaders(record.source.bytes, record.headersStart(), record.end)
    for (const name of this.fields) {
      const value = made[name]
      if (value !== undefined && !sameValue(value, read[name])) own.add(name)
    }
    return own
  }

  /** A record that is not followed, whose headers the program made anew: what is not sampled is to stay so in the next program. */
  private passedOn(record: AnyRecord, headers: HeadersInput | undefined): HeadersInput | undefined {
    const made = headers ?? (record.raw & RAW_HEADERS ? undefined : record.headers)
    if (made === undefined || record.start < 0) return headers
    const carried = this.traces.headersOf(record)
    if (carried === undefined || Object.keys(carried).some((name) => made[name] !== undefined)) return headers
    return { ...made, ...carried }
  }
}

function sameValue(made: HeadersInput[string], read: HeaderValue | undefined): boolean {
  const last = (value: HeadersInput[string] | HeaderValue | undefined): string | Uint8Array | null | undefined =>
    Array.isArray(value) ? (value as readonly (string | Uint8Array | null)[]).at(-1) : (value as string | Uint8Array | null | undefined)
  const [a, b] = [last(made), last(read)]
  if (a === undefined || a === null || b === undefined || b === null) return a === b
  return Buffer.from(a as Uint8Array).equals(Buffer.from(b as Uint8Array))
}
