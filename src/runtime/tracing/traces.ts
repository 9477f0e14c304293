import type { FailedRecord } from '../../record/failed-record.js'
import { inLog } from '../../record/failed-record.js'
import type { RecordSource } from '../../record/record-source.js'
import { deliveryAttempt, type LogRecord, type StreamRecord } from '../../record/record.js'
import { RecordCarrier, type Trace, type TraceHeaders, type TraceOutcome, type TraceResult, type Tracer } from '../../record/tracing.js'
import { Mark } from '../accounting.js'
import { Gatherings, type Part } from './gatherings.js'

type AnyRecord = LogRecord<unknown, unknown>

const OUTCOMES: Readonly<Record<Mark, TraceOutcome>> = {
  [Mark.unmarked]: 'filtered',
  [Mark.processed]: 'processed',
  [Mark.duplicate]: 'duplicate',
  [Mark.late]: 'late',
  [Mark.failed]: 'failed',
}

/**
 * Which records of a pipeline are followed. A record and all that is derived from it share source and number, so these two say whose trace
 * an output belongs to.
 */
export class PipelineTraces {
  private readonly known = new WeakMap<RecordSource, Map<number, Trace>>()
  private readonly carrier = new RecordCarrier()
  readonly gatherings = new Gatherings()

  constructor(
    readonly tracer: Tracer,
    readonly group: string,
  ) {}

  of({ source, seq }: AnyRecord): Trace | undefined {
    return this.known.get(source)?.get(seq)
  }

  set({ source, seq }: AnyRecord, trace: Trace): void {
    let traces = this.known.get(source)
    if (traces === undefined) this.known.set(source, (traces = new Map()))
    traces.set(seq, trace)
  }

  round(): RoundTraces {
    return new RoundTraces(this)
  }

  /** For one look. */
  carrierOf(record: AnyRecord): RecordCarrier {
    return this.carrier.at(record)
  }

  /** What a record that is not followed has of trace headers. */
  headersOf(record: AnyRecord): TraceHeaders | undefined {
    return this.carrier.at(record).all(this.tracer.fields)
  }
}

/** Those of one transaction, which end with it. */
export class RoundTraces {
  private readonly open: { readonly record: AnyRecord | undefined; readonly trace: Trace }[] = []

  constructor(private readonly pipeline: PipelineTraces) {}

  of(record: AnyRecord): Trace | undefined {
    return this.pipeline.of(record)
  }

  /** A record is about to be worked on, or was given up without. */
  begin(record: AnyRecord): Trace | undefined {
    const { pipeline } = this
    const trace = pipeline.tracer.start(pipeline.carrierOf(record), () => {
      const { topic, partition } = record.source
      return { group: pipeline.group, topic, partition, offset: record.offset, attempt: deliveryAttempt(record) }
    })
    if (trace === undefined) return undefined
    pipeline.set(record, trace)
    this.open.push({ record, trace })
    return trace
  }

  /** Works on a record that comes in. */
  run(record: AnyRecord, work: () => void): void {
    const trace = this.begin(record)
    if (trace === undefined) return work()
    trace.within(work)
    trace.touch()
  }

  /** Runs user code for a record that is in already: in no other record's name, whoever's turn it came in. */
  within<T>(record: AnyRecord, fn: () => T): T {
    const { pipeline } = this
    const trace = pipeline.of(record)
    return trace === undefined ? pipeline.tracer.outside(pipeline.carrierOf(record), fn) : trace.within(fn)
  }

  /** User code made a record of its own where it was given another. */
  adopt(given: StreamRecord<unknown, unknown>, from: StreamRecord<unknown, unknown>): void {
    const [made, of] = [given as AnyRecord, from as AnyRecord]
    const trace = made.source === of.source ? undefined : this.pipeline.of(of)
    if (trace !== undefined && this.pipeline.of(made) === undefined) this.pipeline.set(made, trace)
  }

  failed(failed: FailedRecord): void {
    this.pipeline.of(inLog(failed))?.failed(failed.error, failed.step)
  }

  /** A record goes into what an operator makes of the records of a key. */
  gather(operator: string, key: string, time: number, record: StreamRecord<unknown, unknown>): void {
    const trace = this.pipeline.of(record as AnyRecord)
    if (trace !== undefined) this.pipeline.gatherings.add(operator, key, time, trace)
  }

  /** What was made of those that were gathered. */
  combine(operator: string, made: StreamRecord<unknown, unknown>, parts: readonly Part[]): void {
    const { gatherings, tracer, group } = this.pipeline
    const traces = parts.flatMap((part) => gatherings.of(part))
    if (traces.length === 0) return
    const trace = tracer.combine(operator, group, traces)
    this.pipeline.set(made as AnyRecord, trace)
    this.open.push({ record: undefined, trace })
  }

  /** It is known what became of the transaction. The first word counts. */
  settle(result: TraceResult): void {
    for (const { record, trace } of this.open.splice(0)) {
      if (result !== 'committed') this.pipeline.gatherings.drop(trace)
      const mark = record === undefined || record.seq < 0 ? undefined : record.source.marks?.[record.seq]
      trace.end(result, mark === undefined ? undefined : OUTCOMES[mark as Mark])
    }
  }
}
