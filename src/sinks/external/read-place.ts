import type { LogRecord } from '../../record/record.js'

/** The partition's topic that a record was read from in its slice: a record from a retry topic lies there, wherever it is from. */
export function topicRead(record: LogRecord<unknown, unknown>): string | undefined {
  const { source } = record
  // Only what a task has read shares the marks of its batch: not the result of a window, nor what was kept for a while.
  if (source.marks === undefined || record.seq < 0) return undefined
  return source.readAt?.topic ?? source.topic
}

/** Its offset there. */
export function offsetRead(record: LogRecord<unknown, unknown>): number {
  return record.source.readAt?.offset ?? record.offset
}
