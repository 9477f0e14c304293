import { lastHeader } from './headers.js'
import type { LogRecord } from './record.js'

/** Headers that tell the next program whose work goes on, by name. */
export type TraceHeaders = Readonly<Record<string, string>>

/** What a record came to: the names of `RecordCounts`. */
export type TraceOutcome = 'processed' | 'filtered' | 'duplicate' | 'late' | 'failed'

/** How the transaction of a record ended; 'unknown' where the answer to the commit was lost for good. */
export type TraceResult = 'committed' | 'aborted' | 'unknown'

/** The record that is begun with. */
export interface Followed {
  readonly group: string
  readonly topic: string
  readonly partition: number
  readonly offset: number
  /** Which attempt it is, over retry topics. */
  readonly attempt: number
}

/** What follows records over programs. Whoever implements it is given to `kafka` or `embedded`; nothing else here knows how it is done. */
export interface Tracer {
  /** Names of the headers that are read and written. */
  readonly fields: readonly string[]
  /** A record is about to be worked on. Undefined where nobody is to hear of it, which is to cost little: it is asked for each record. */
  start(carrier: RecordCarrier, of: () => Followed): Trace | undefined
  /** Runs user code for a record that is not followed, as part of whatever its headers name. */
  outside<T>(carrier: RecordCarrier, fn: () => T): T
  /** A record is about to be written that no pipeline makes, as part of whatever the program is at. */
  send(topic: string): SentTrace
  /** Something is made of several records that are followed. */
  combine(operator: string, group: string, of: readonly Trace[]): Trace
}

/** A record on its way into the log. */
export interface SentTrace {
  /** For the record itself. */
  readonly headers: TraceHeaders
  /** Once: where it stands, or what it failed with. */
  end(at: { readonly partition: number; readonly offset: number } | undefined, error?: unknown): void
}

/** The work on one record in one transaction. */
export interface Trace {
  /** For whatever is written because of it. */
  readonly headers: TraceHeaders
  /** Runs code as part of it, and what that code goes on to do asynchronously. */
  within<T>(fn: () => T): T
  /** It was worked on right now. */
  touch(): void
  /** A step failed on it; without a step, the slice. */
  failed(error: unknown, step?: string): void
  /** Once, when it is known what became of the transaction. `outcome` is undefined where it is not counted. */
  end(result: TraceResult, outcome: TraceOutcome | undefined): void
}

/** The trace headers of one record after the other, read off its bytes when asked for: valid until the next one is looked at. */
export class RecordCarrier {
  private record: LogRecord<unknown, unknown> | undefined
  private start = -1
  private readonly names = new Map<string, Buffer>()

  at(record: LogRecord<unknown, unknown>): this {
    this.record = record
    this.start = -1
    if (record.start < 0 || record.source.carried !== undefined) return this
    try {
      const at = record.headersStart()
      // Most have none at all.
      if (record.source.bytes[at] !== 0) this.start = at
    } catch {
      // Headers that were written wrong name nobody. Whoever reads the record is told.
    }
    return this
  }

  get(name: string): string | undefined {
    const carried = this.record?.source.carried
    if (carried !== undefined) return carried[name]
    if (this.start < 0) return undefined
    let bytes = this.names.get(name)
    if (bytes === undefined) this.names.set(name, (bytes = Buffer.from(name, 'utf8')))
    try {
      return lastHeader((this.record as LogRecord<unknown, unknown>).source.bytes, this.start, bytes)?.toString('utf8')
    } catch {
      return undefined
    }
  }

  /** Of all its headers. */
  keys(): string[] {
    const { record } = this
    if (record === undefined) return []
    if (record.source.carried !== undefined) return Object.keys(record.source.carried)
    return this.start < 0 ? [] : Object.keys(record.headers)
  }

  /** Those of the fields that there are. */
  all(fields: readonly string[]): TraceHeaders | undefined {
    let found: Record<string, string> | undefined
    for (const name of fields) {
      const value = this.get(name)
      if (value !== undefined) (found ??= {})[name] = value
    }
    return found
  }
}

/** What was kept beside a record, if it is that. */
export function traceHeaders(given: unknown): TraceHeaders | undefined {
  if (typeof given !== 'object' || given === null) return undefined
  return Object.values(given).every((value) => typeof value === 'string') ? (given as TraceHeaders) : undefined
}
