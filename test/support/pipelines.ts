import { lastValueFrom, takeWhile, toArray, type Observable } from 'rxjs'
import type { Cluster, Commit, TransactionOptions, RecordStream } from '../../src/index.js'
import { withTransaction } from '../../src/index.js'

/** A plain view of a topic's records, sorted by partition and offset, values as text. */
export interface Seen {
  readonly partition: number
  readonly offset: number
  readonly key: string | null
  readonly value: string | null
}

export async function contents(cluster: Cluster, topic: string): Promise<Seen[]> {
  const seen: Seen[] = []
  for await (const record of cluster.read({ topic })) {
    const { partition, offset } = record.origin
    seen.push({
      partition,
      offset,
      key: record.key === null ? null : String(record.key),
      value: record.value === null ? null : String(record.value),
    })
  }
  return seen.sort((a, b) => a.partition - b.partition || a.offset - b.offset)
}

/** The values of a topic, sorted: for comparing what is there whatever its order. */
export async function values(cluster: Cluster, topic: string): Promise<(string | null)[]> {
  return (await contents(cluster, topic)).map((record) => record.value).sort()
}

/** Runs a pipeline until it has committed `records` input records, then stops it in order. */
export function runUntil(
  cluster: Cluster,
  {
    group,
    topics,
    records,
    options,
  }: { readonly group: string; readonly topics: readonly string[]; readonly records: number; readonly options?: TransactionOptions },
  project: (records: RecordStream) => Observable<unknown>,
): Promise<Commit[]> {
  let read = 0
  return lastValueFrom(
    cluster.source({ group, topics }).pipe(
      withTransaction(project, { every: 20, ...options }),
      takeWhile((commit) => (read += commit.records) < records, true),
      toArray(),
    ),
  )
}

export function sumOf(commits: readonly Commit[], field: 'records' | 'processed' | 'filtered' | 'failed' | 'outputs'): number {
  return commits.reduce((sum, commit) => sum + commit[field], 0)
}

export const numbers = (count: number): { key: string; value: string; partition: number }[] =>
  Array.from({ length: count }, (_, i) => ({ key: `k${i % 10}`, value: String(i), partition: i % 2 }))
