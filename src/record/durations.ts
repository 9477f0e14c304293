/** Something that took its time, and is over. */
export interface Took {
  readonly ms: number
  /** What it failed with, if it did. */
  readonly error?: unknown
  readonly group?: string | undefined
  /** Where it was about one. */
  readonly topic?: string | undefined
  readonly partition?: number | undefined
}

/** 'poll': one request for records, the wait for them included; 'send': outputs until they are acknowledged; 'commit': offsets, and the end of a transaction. */
export type LogOperation = 'poll' | 'send' | 'commit'

/** What is told how long things take, each when it is over: transactions and requests, never records. Nothing is measured where nobody is to be told. */
export interface Durations {
  /** The records of one transaction were worked on: computing, and waiting for calls; waiting for records left out. */
  processed(took: Took): void
  operated(operation: LogOperation, took: Took): void
}

/** Tells how long `what` takes, from now on. */
export function timed<T>(
  durations: Durations | undefined,
  now: () => number,
  operation: LogOperation,
  about: Omit<Took, 'ms' | 'error'>,
  what: Promise<T>,
): Promise<T> {
  if (durations === undefined) return what
  const began = now()
  return what.then(
    (value) => {
      durations.operated(operation, { ms: now() - began, ...about })
      return value
    },
    (error: unknown) => {
      durations.operated(operation, { ms: now() - began, error, ...about })
      throw error
    },
  )
}

/** Where all of them are, as far as that is one place. */
export function placeOf(items: Iterable<{ readonly topic: string; readonly partition: number }>): Pick<Took, 'topic' | 'partition'> {
  let first: { readonly topic: string; readonly partition: number } | undefined
  let isOnePartition = true
  for (const item of items) {
    first ??= item
    if (item.topic !== first.topic) return {}
    if (item.partition !== first.partition) isOnePartition = false
  }
  if (first === undefined) return {}
  const { topic, partition } = first
  return isOnePartition ? { topic, partition } : { topic }
}
