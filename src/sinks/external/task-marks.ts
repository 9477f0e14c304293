import type { LogRecord } from '../../record/record.js'
import { hadEffects, type TopicProgress } from '../../runtime/effects.js'
import type { PlaceToTake, RowChange, StoredRow } from './port.js'
import { offsetRead, topicRead } from './read-place.js'
import { TopicMarks } from './topic-marks.js'

/** What one sink knows of one task: which of its records are written, by the rows it has taken. */
export class TaskMarks {
  private readonly topics = new Map<string, TopicMarks>()

  constructor(
    readonly sink: string,
    readonly partition: number,
    /** Of the group, as they were taken. */
    readonly generation: number,
  ) {}

  /** A transaction begins, or goes on. Returns the topics of the task that are not taken yet. */
  begin(progress: readonly TopicProgress[]): PlaceToTake[] {
    const missing: PlaceToTake[] = []
    for (const { topic, committed, effects } of progress) {
      const marks = this.topics.get(topic)
      // A row that the log knows of is made anew only where it is lost, and with it what it tells of: from the start.
      const start = hadEffects(effects, this.sink) ? 0 : committed
      if (marks === undefined) missing.push({ sink: this.sink, topic, partition: this.partition, start })
      else marks.committed = committed
    }
    return missing
  }

  add({ topic, committed }: TopicProgress, row: StoredRow): void {
    const { sink, partition } = this
    this.topics.set(topic, new TopicMarks({ sink, topic, partition }, row, committed))
  }

  /** Whether the record is to be written: it is not written already. */
  admits(record: LogRecord<unknown, unknown>): boolean {
    const topic = topicRead(record)
    const marks = topic === undefined ? undefined : this.topics.get(topic)
    if (marks === undefined) return true
    const offset = offsetRead(record)
    if (marks.isDone(offset)) return false
    const wasElsewhere = record.source.readAt !== undefined || (this.owes && record.lineage !== undefined)
    const id = wasElsewhere ? record.id : undefined
    // Written as what it was before it went to a retry topic, it counts as written from here.
    marks.add(offset, id)
    return id === undefined || ![...this.topics.values()].some((each) => each.pays(id))
  }

  /** The rows as the open transaction leaves them, if it moved or wrote anything; all of them, so that the epoch of each is compared. */
  changes(progress: readonly TopicProgress[], wrote: boolean): RowChange[] {
    const moved = wrote || progress.some(({ committed, position }) => position !== committed)
    if (!moved) return []
    return progress.map(({ topic, position }) => {
      const marks = this.topics.get(topic) as TopicMarks
      return { sink: this.sink, topic, partition: this.partition, was: marks.position, ...marks.change(position) }
    })
  }

  commit(): void {
    for (const marks of this.topics.values()) marks.commit()
  }

  reset(): void {
    for (const marks of this.topics.values()) marks.reset()
  }

  private get owes(): boolean {
    for (const marks of this.topics.values()) if (marks.owes) return true
    return false
  }
}
