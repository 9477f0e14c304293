import { MillraceError } from '../../record/error.js'
import { FailedRecord, inLog } from '../../record/failed-record.js'
import { LogRecord } from '../../record/record.js'
import { Mark, mark } from '../../runtime/accounting.js'
import type { Gate } from '../../runtime/context.js'
import type { RoundTraces } from '../../runtime/tracing/traces.js'

type AnyRecord = LogRecord<unknown, unknown>

/** What goes on in place of a record: what the user's function made of it, or its failure. */
export class Outcomes {
  constructor(
    private readonly step: string,
    private readonly worth: (failed: FailedRecord) => boolean,
    private readonly gate: Gate | undefined,
    private readonly traces: RoundTraces | undefined,
  ) {}

  /** What the record is if it is not tried again, and whether it is to be. */
  failure(record: AnyRecord, error: unknown, tries: number): FailedRecord {
    const { step } = this
    const failed = new FailedRecord(record, error, step, tries)
    return this.worth(failed) === failed.retryable ? failed : new FailedRecord(record, error, step, tries, !failed.retryable)
  }

  /** Goes on as a failure, for good. */
  handOver(failed: FailedRecord): FailedRecord {
    const record = inLog(failed)
    mark(record, Mark.failed)
    this.gate?.failing(record)
    return failed
  }

  /** What the user's function returned, as what goes on. */
  of(record: AnyRecord, result: unknown): unknown {
    if (result === undefined) return record
    if (result instanceof LogRecord) {
      this.traces?.adopt(result, record)
      return result
    }
    if (result instanceof FailedRecord) {
      mark(inLog(result), Mark.failed)
      this.gate?.failing(record)
      return result
    }
    return record.with({ value: result })
  }

  /** Not tried, since one of its key before it failed. */
  kept(record: AnyRecord): FailedRecord {
    return new FailedRecord(
      record,
      new MillraceError('KEY_IN_RETRY', `${record.id} waits for a record of its key that is being retried`, {
        retryable: true,
        origin: record.origin,
      }),
      this.step,
      0,
    )
  }
}
