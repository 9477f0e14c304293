import { notShared } from '../log/shared.js'
import type { LogClient, PartitionOffset, Position, TopicInfo } from '../log/port.js'
import { MillraceError } from '../record/error.js'
import type { Logger } from '../record/logger.js'
import { outcomeName, sendBack } from './send-back.js'
import { withTransaction } from '../operators/with-transaction.js'
import type { Commit } from '../runtime/commit.js'
import { fateOf, type LetterRules } from './letters.js'
import { redriveSchema, type RedriveOptions, type RedriveResult, type RedriveRow, type RedriveSettings } from './options.js'
import { parseOptions } from '../runtime/options.js'
import type { PipelineHost } from '../runtime/host.js'
import type { TransactionOptions } from '../runtime/settings.js'
import { PartitionSource } from '../sources/partition-source.js'
import { REDRIVEN, type RedrivenStore } from './redriven-store.js'
import { restore } from '../state/restore.js'
import { changelogTopic } from '../state/store.js'
import { BoundedLog, otherLetters } from './bounded-log.js'
import { INSTANCE, RedrivePlace, SESSION_MS } from './place.js'
import type { Cluster } from '../cluster/cluster.js'
import { rangeOf, readRange, type Range } from '../cluster/read.js'

/** Sent in one transaction where there is a rate: short ones keep it even. */
const SLICE_SECONDS = 0.2
const PROGRESS_EVERY = 1_000

/**
 * Sends the records of a dead-letter topic back to where each came from, or to another topic: those that a filter chooses, each once.
 *
 * A record goes with the bytes of its key and value, its headers and its time as they were before it failed; what told of the failure is
 * taken out, and the header `millrace.redriven` counts how often this was done. It keeps its `id`, by which `dedupe` and idempotency keys
 * know it: `millrace.redriven-from` tells it, in batches of redrive alone. The headers of Spring Kafka and of Kafka Streams are understood
 * too. It goes into the partition it came from; where that is not known, or with `to`, by Kafka's hash of the key. A record that fails
 * again and again is parked.
 *
 * It reads the topic up to where it ended at the beginning, so records that fail again meanwhile wait for another run. First all of it is
 * looked at, which is also the dry run: topics that do not exist are refused before anything is sent.
 *
 * Order: of a partition. Offsets: records sent, and the note that they were, commit in one transaction; interrupted, at any point, and
 * started again, it goes on where it was. What is not chosen stays, and a later run with another filter takes it. State: a bit a record, on
 * the changelog `<group>-redriven-changelog`, which is created if it is missing. Memory: that, and the outputs of a transaction.
 *
 * @throws MillraceError INVALID_OPTIONS; MISSING_TOPIC before anything is sent; INSTANCE_FENCED if another redrive of the group takes over;
 * STATE_MISMATCH if the topic was made anew, or lost letters to an unclean election; RECORD_FAILED with the cause RECORD_TOO_LARGE, ...: what was committed till then stays
 * @example
 * await redrive(cluster, { from: 'orders.dead', filter: { error: 'Timeout' }, rate: 100 })
 */
export function redrive(cluster: Cluster, options: RedriveOptions): Promise<RedriveResult> {
  return redriveWith(cluster, options, {})
}

/** @internal With other settings of the transaction. */
export async function redriveWith(cluster: Cluster, options: RedriveOptions, transaction: TransactionOptions): Promise<RedriveResult> {
  const settings = parseOptions(redriveSchema, options, 'redrive')
  const finished = new AbortController()
  const signals = [finished.signal, ...(settings.signal === undefined ? [] : [settings.signal])]
  const source = cluster.source({
    group: settings.group,
    topics: [settings.from],
    startFrom: 'committed',
    onOutOfRange: 'earliest',
    instanceId: INSTANCE,
    sessionTimeout: SESSION_MS,
    // Somebody waits for the result.
    startWithin: 0,
    signal: AbortSignal.any(signals),
  })
  const run = new Redrive(source, settings, () => finished.abort()).run(transaction)
  source.host.onRun(
    run.then(
      () => {},
      () => {},
    ),
  )
  return run
}

/** What looking at the topic has found. */
interface Survey {
  /** What is to be read. */
  readonly range: Range
  /** The offsets of those chosen, by partition. */
  readonly offsets: readonly RedrivenStore[]
  readonly complete: boolean
  readonly read: number
  readonly skipped: number
  readonly left: number
  readonly unaddressed: number
  /** Records to send and to park, by outcome. */
  readonly chosen: Outcomes
}

class Outcomes {
  private readonly counts = new Map<string, number>()

  add(name: string, count = 1): void {
    this.counts.set(name, (this.counts.get(name) ?? 0) + count)
  }

  get rows(): RedriveRow[] {
    return [...this.counts]
      .map(([name, records]) => {
        const [outcome, target, error, step] = JSON.parse(name) as [RedriveRow['outcome'], string, string, string]
        return { target, outcome, error, step, records }
      })
      .sort((a, b) => b.records - a.records || (a.target < b.target ? -1 : 1))
  }

  total(outcome?: RedriveRow['outcome']): number {
    return this.rows.reduce((sum, row) => sum + (outcome === undefined || row.outcome === outcome ? row.records : 0), 0)
  }

  get byTarget(): Record<string, number> {
    const sums = new Map<string, number>()
    for (const { target, records } of this.rows) sums.set(target, (sums.get(target) ?? 0) + records)
    return Object.fromEntries(sums)
  }
}

class Redrive {
  private readonly rules: LetterRules
  private readonly host: PipelineHost
  private readonly signal: AbortSignal

  constructor(
    private readonly source: PartitionSource,
    private readonly settings: RedriveSettings,
    private readonly finish: () => void,
  ) {
    const { from, to, filter, maxRedrives, parked } = settings
    this.rules = { from, to, filter, maxRedrives, parked }
    this.host = source.host
    this.signal = source.settings.signal as AbortSignal
  }

  async run(transaction: TransactionOptions): Promise<RedriveResult> {
    const { dryRun } = this.settings
    const log = await this.host.openLog()
    let survey: Survey
    let missing: readonly string[]
    try {
      await log.connect()
      const place = dryRun ? undefined : await RedrivePlace.take(log, this.source)
      try {
        survey = await this.look(log)
        const targets = Object.keys(survey.chosen.byTarget)
        const found = await log.topics(targets)
        missing = targets.filter((topic) => !found.has(topic))
        if (dryRun) return this.result(survey, survey.chosen, survey.complete, missing)
        if (missing.length > 0) throw missingTargets(survey, missing, this.settings.parked)
        if (!survey.complete || targets.length === 0) return this.result(survey, new Outcomes(), survey.complete, [])
        const starts = survey.range.starts.map((offset, partition) => ({ topic: this.settings.from, partition, offset }))
        if ((await place?.startAt(starts)) !== true) return this.result(survey, new Outcomes(), false, [])
      } finally {
        await place?.leave()
      }
    } finally {
      await log.close()
    }
    const done = new Outcomes()
    const complete = await this.send(survey, done, transaction)
    return this.result(survey, done, complete, [])
  }

  /** Reads all there is, counts what is to be done, and finds where that begins and ends. */
  private async look(log: LogClient): Promise<Survey> {
    const { from, limit, onProgress } = this.settings
    const whole = await rangeOf(log, from, 'redrive')
    await this.checkShared(log, whole)
    const stores = await this.redriven(log, whole)
    const chosen = new Outcomes()
    const counts = { left: 0, unaddressed: 0 }
    let [read, skipped, picked] = [0, 0, 0]
    const offsets = whole.ends.map(() => REDRIVEN.create())
    const firsts = new Map<number, number>()
    const nexts = [...whole.starts]
    const progress = (): void => onProgress?.({ phase: 'looking', read, sent: 0, parked: 0, chosen: picked })
    for await (const letter of readRange(log, whole, 'read_committed', this.signal)) {
      const { partition, offset } = letter.origin
      nexts[partition] = offset + 1
      if (++read % PROGRESS_EVERY === 0) progress()
      if (stores[partition]?.has(offset) === true) {
        skipped++
        continue
      }
      const fate = fateOf(letter, this.rules)
      if (fate.kind === 'left' || fate.kind === 'unaddressed') {
        counts[fate.kind]++
        continue
      }
      chosen.add(outcomeName(fate))
      const picks = offsets[partition] as RedrivenStore
      picks.add(offset)
      picks.commit()
      if (!firsts.has(partition)) firsts.set(partition, offset)
      if (++picked === limit) break
    }
    progress()
    const ends = picked === limit ? nexts : whole.ends
    const starts = ends.map((end, partition) => firsts.get(partition) ?? end)
    return { range: { topic: from, starts, ends }, offsets, complete: !this.signal.aborted, read, skipped, ...counts, chosen }
  }

  /** What earlier runs have dealt with is told by offsets, so these must still be those of the same letters. */
  private async checkShared(log: LogClient, { topic, starts }: Range): Promise<void> {
    const { group } = this.settings
    const partitions = starts.map((_, partition) => ({ topic, partition }))
    const stored = await log.committedPositions(group, partitions)
    const reached = stored.filter((at) => at !== undefined && at.leaderEpoch !== undefined && at.offset >= (starts[at.partition] as number))
    const lost = await notShared(log, reached as Position[], this.signal)
    if (lost !== undefined) throw otherLetters(lost, group)
  }

  /** What earlier runs have dealt with, by partition. */
  private async redriven(log: LogClient, { topic, ends }: Range): Promise<RedrivenStore[]> {
    const changelog = changelogTopic(this.settings.group, REDRIVEN.name)
    const stores = ends.map(() => REDRIVEN.create())
    const info = (await log.topics([changelog])).get(changelog) as TopicInfo | undefined
    if (info === undefined) return stores
    const { clock, logger } = this.host
    const parts = stores.map((store, partition) => ({ spec: REDRIVEN, store, topic: changelog, partition })).slice(0, info.partitions)
    await restore(parts, { log, clock, logger, cancelled: () => this.signal.aborted })
    stores.forEach(({ highest }, partition) => {
      if (highest < (ends[partition] as number)) return
      throw new MillraceError(
        'STATE_MISMATCH',
        `redrive: '${topic}' was made anew since group '${this.settings.group}' last redrove it: partition ${partition} ends at ${ends[partition]}, and offset ${highest} was sent before. ` +
          'Name another group, or delete the topic ' +
          `'${changelog}'`,
      )
    })
    return stores
  }

  /** The pipeline. True if it came to the end. */
  private async send({ range, offsets: picks, chosen, read }: Survey, done: Outcomes, transaction: TransactionOptions): Promise<boolean> {
    const { rate, onProgress } = this.settings
    const total = chosen.total()
    const open = new Map([...range.ends.entries()].filter(([partition, end]) => (range.starts[partition] as number) < end))
    const reached = (offsets: readonly PartitionOffset[]): void => {
      for (const { partition, offset } of offsets) if (offset >= (open.get(partition) ?? Number.POSITIVE_INFINITY)) open.delete(partition)
      if (open.size === 0) this.finish()
    }
    const part = {
      topic: range.topic,
      group: this.settings.group,
      ends: range.ends,
      wanted: (partition: number, start: number, end: number) => picks[partition]?.hasAny(start, end) === true,
    }
    // Looked up whenever the group is joined: where another run has taken over and is done, there is nothing left to commit.
    const openLog = async (logger?: Logger): Promise<LogClient> => new BoundedLog(await this.host.openLog(logger), part, reached)
    // Whoever started the run that takes over may see to it that this one ends.
    const commits = new PartitionSource(this.source.settings, { ...this.host, openLog, yieldsAtOnce: true }).pipe(
      withTransaction((letters) => letters.pipe(sendBack({ ...this.rules, targets: Object.keys(chosen.byTarget), rate })), {
        // Targets exist, so only the changelog can be missing.
        provision: true,
        ...(rate === undefined ? {} : { maxRecords: Math.ceil(rate * SLICE_SECONDS) }),
        ...transaction,
      }),
    )
    const onCommit = ({ offsets, meters }: Commit): void => {
      for (const [name, count] of Object.entries(meters)) done.add(name, count)
      onProgress?.({ phase: 'sending', read, sent: done.total('send'), parked: done.total('park'), chosen: total })
      reached(offsets)
    }
    await new Promise<void>((complete, error) => commits.subscribe({ next: onCommit, complete, error }))
    const count = done.total()
    if (open.size === 0 && count < total) {
      throw new MillraceError(
        'INSTANCE_FENCED',
        `redrive: this run sent or parked ${count} of ${total}. Another redrive of group '${this.settings.group}' took over meanwhile, or retention deleted some: start it again for what is left`,
        { retryable: true },
      )
    }
    return open.size === 0
  }

  private result(
    { read, skipped, left, unaddressed }: Survey,
    outcomes: Outcomes,
    complete: boolean,
    missing: readonly string[],
  ): RedriveResult {
    const { dryRun } = this.settings
    return {
      dryRun,
      complete,
      read,
      sent: outcomes.total('send'),
      parked: outcomes.total('park'),
      skipped,
      left,
      unaddressed,
      byTarget: outcomes.byTarget,
      table: outcomes.rows,
      missing,
    }
  }
}

function missingTargets({ chosen }: Survey, missing: readonly string[], parked: string): MillraceError {
  const { byTarget } = chosen
  const names = missing
    .map((topic) => `'${topic}' (${byTarget[topic]} records${topic === parked ? ', redriven too often' : ''})`)
    .join(', ')
  return new MillraceError(
    'MISSING_TOPIC',
    `redrive: nothing was sent, since ${missing.length === 1 ? 'a topic does' : 'topics do'} not exist: ${names}. Create them, name another topic with \`to\`, or leave these records out with a filter`,
  )
}
