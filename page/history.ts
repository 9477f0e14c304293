import type { Group } from './group.js'

/** What the charts show: a row for each look, ten minutes of them. */
export interface Series {
  readonly at: number[]
  readonly records: (number | null)[]
  readonly outputs: (number | null)[]
  readonly transactionMs: (number | null)[]
  readonly commitMs: (number | null)[]
  readonly lag: (number | null)[]
}

interface Before {
  readonly at: number
  readonly commit: Sum
  readonly transaction: Sum
}

interface Sum {
  readonly count: number
  readonly sumMs: number
}

const MOST = 600
/** Rates of topics are taken over so many looks. */
const LOOKS = 10

/** What has passed of a group, kept by the page: the server keeps no history. */
export class History {
  readonly series: Series = { at: [], records: [], outputs: [], transactionMs: [], commitMs: [], lag: [] }
  private before: Before | undefined
  private readonly written: { readonly at: number; readonly topics: ReadonlyMap<string, number> }[] = []

  add(group: Group, at: number): void {
    const { series, before } = this
    if (at <= (before?.at ?? 0)) return
    const commit = total(group, 'commit')
    const transaction = total(group, 'duration')
    series.at.push(at / 1_000)
    series.records.push(group.records)
    series.outputs.push(group.outputs)
    series.lag.push(group.lag)
    series.commitMs.push(mean(before?.commit, commit))
    series.transactionMs.push(mean(before?.transaction, transaction))
    for (const column of Object.values(series) as unknown[][]) if (column.length > MOST) column.shift()
    this.before = { at, commit, transaction }
    this.written.push({ at, topics: group.written })
    if (this.written.length > LOOKS) this.written.shift()
  }

  /** Records written to a topic, a second. */
  rateOf(topic: string): number {
    const [first] = this.written
    const last = this.written.at(-1)
    if (first === undefined || last === undefined || last.at === first.at) return 0
    const more = (last.topics.get(topic) ?? 0) - (first.topics.get(topic) ?? 0)
    // Less than before: a member has gone, and its count with it.
    return Math.max(0, (more * 1_000) / (last.at - first.at))
  }
}

function total({ members }: Group, of: 'commit' | 'duration'): Sum {
  return members.reduce(
    ({ count, sumMs }, { status }) => ({ count: count + status.commits[of].count, sumMs: sumMs + status.commits[of].sumMs }),
    { count: 0, sumMs: 0 },
  )
}

function mean(before: Sum | undefined, now: Sum): number | null {
  const count = now.count - (before?.count ?? now.count)
  return count <= 0 ? null : (now.sumMs - (before?.sumMs ?? 0)) / count
}
