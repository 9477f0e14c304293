import type { LogRecord, RawRecord } from '../../record/record.js'
import { Slice } from '../slice.js'

/** A slice whose records are followed. */
export class TracedSlice extends Slice {
  override push(record: RawRecord): void {
    this.follow(record, () => super.push(record))
  }

  override pushInto(topic: string, record: RawRecord): void {
    this.follow(record, () => super.pushInto(topic, record))
  }

  private follow(record: RawRecord, push: () => void): void {
    if (this.traces === undefined) push()
    else this.traces.run(record as LogRecord<unknown, unknown>, push)
  }
}
