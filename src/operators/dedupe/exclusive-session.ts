import { randomBytes } from 'node:crypto'
import type { Clock } from '../../record/clock.js'
import type { Logger } from '../../record/logger.js'
import { hashId, idHash } from './claims/bloom-filter.js'
import type { ClaimStore, ExclusiveId, ExclusiveIds } from './claims/claim-store.js'
import { IdIndex } from './claims/id-index.js'
import type { Participant, SliceContext } from '../../runtime/context.js'
import { StoreCalls } from './store-calls.js'

export interface ExclusiveSettings {
  readonly what: string
  readonly store: ClaimStore & { readonly exclusive: ExclusiveIds }
  readonly withinMs: number
}

/** An id that was met again: what is known of it changes. */
interface Met extends ExclusiveId {
  /** Its record has come again in this transaction: another one is a copy. */
  cameBack: boolean
  duplicates: number
  result: string | undefined
}

/** What ids have in common that passed one after the other in one partition. */
interface Run {
  readonly topic: string
  readonly partition: number
  readonly at: number
  readonly section: number
}

/** Ids written in one call: they only have to be there before the commit. */
const BATCH = 4_096
const MAX_NOT_COMMITTED = 10_000
/** Sections are forgotten when a new one begins; this much later they would expire. */
const SLACK_MS = 60_000

/**
 * The ids of one `dedupe` with a Bloom filter, transaction by transaction, over all tasks of the pipeline: written as they pass, without
 * asking, and taken out again where the transaction does not commit.
 */
export class ExclusiveSession implements Participant {
  /** What passed in the open transaction, by row: an id may have several, of which the last counts. */
  private readonly passed = new IdIndex()
  private offsets: number[] = []
  private runs: Run[] = []
  private run: Run | undefined
  private rows = 0
  private unsentFrom = 0
  /** Ids of which more is to be said, of this transaction or before. */
  private met = new Map<string, Met>()
  /** Claims that stood and did not count: whoever put them could not take them out again. */
  private overruled: ExclusiveId[] = []
  private sent: Promise<unknown>[] = []
  private readonly calls: StoreCalls
  private readonly member = randomBytes(6).toString('base64url')
  private turn = 0
  /** Names the open transaction. */
  private writer = `${this.member}.0`
  /** Transactions of ours that did not commit, or of which that was not known. */
  private readonly notCommitted = new Set<string>()

  constructor(
    private readonly settings: ExclusiveSettings,
    private readonly clock: Clock,
    logger: Logger,
  ) {
    this.calls = new StoreCalls(settings.what, settings.store.name, settings.withinMs, clock, logger)
  }

  /** The record that passed with the id in the open transaction. */
  inTransaction(id: string): ExclusiveId | undefined {
    hashId(id)
    const row = this.passed.find(id, idHash.low | 0)
    return row < 0 ? undefined : (this.met.get(id) ?? this.exclusiveId(row))
  }

  /** `idHash` is the id's, as it has just been added to the filter. */
  pass(id: string, topic: string, partition: number, offset: number, at: number, section: number, slice: SliceContext): void {
    const { run } = this
    if (run === undefined || run.at !== at || run.section !== section || run.partition !== partition || run.topic !== topic)
      this.run = { topic, partition, at, section }
    const row = this.rows++
    this.passed.find(id, idHash.low | 0)
    this.passed.put(id, row)
    this.offsets.push(offset)
    this.runs.push(this.run as Run)
    if (this.rows - this.unsentFrom >= BATCH) this.send(slice)
  }

  lookUp(ids: readonly string[], sections: readonly number[], slice: SliceContext): Promise<readonly (ExclusiveId | undefined)[]> {
    return this.calls.ask(slice, () => this.settings.store.exclusive.get(ids, sections))
  }

  countDuplicate(held: ExclusiveId): void {
    this.meet(held).duplicates++
  }

  /** False if the open transaction has nothing to do with the id. */
  keepResult(id: string, result: string): boolean {
    const held = this.met.get(id) ?? this.inTransaction(id)
    if (held === undefined) return false
    this.meet(held).result = result
    return true
  }

  /** Notes that an id has come again. */
  meet(held: ExclusiveId): Met {
    let met = this.met.get(held.id)
    if (met === undefined) this.met.set(held.id, (met = { ...held, cameBack: false }))
    return met
  }

  /** Notes that a claim does not count. Should its record be given up, nobody else would know: then it goes, as if it had been put here. */
  overrule(held: ExclusiveId): void {
    this.overruled.push(held)
  }

  /** Whether the id was put by a transaction of this member that is not known to have committed. */
  isDoubtful({ writer }: ExclusiveId): boolean {
    return this.notCommitted.has(writer)
  }

  forget(section: number): void {
    void this.calls.tell(() => this.settings.store.exclusive.forget(section))
  }

  /** Everything that passed so far is in the store. */
  async written(slice: SliceContext): Promise<void> {
    this.send(slice)
    await this.calls.ask(slice, () => Promise.all(this.sent))
  }

  prepare(): void {}

  committed(): void {
    const changed = [...this.met.values()].filter(({ duplicates, result }) => duplicates > 0 || result !== undefined)
    this.next()
    if (changed.length > 0) void this.calls.tell(() => this.put(changed))
  }

  aborted(certain: boolean): Promise<void> {
    const untrue = certain ? [...this.rowsFrom(0), ...this.overruled] : []
    if (this.rows > 0) this.notCommitted.add(this.writer)
    for (const oldest of this.notCommitted) {
      if (this.notCommitted.size <= MAX_NOT_COMMITTED) break
      this.notCommitted.delete(oldest)
    }
    this.next()
    // In the log or not: of ids that stay in the store it is known who put them for which record.
    return untrue.length > 0 ? this.calls.tell(() => this.settings.store.exclusive.remove(untrue)) : Promise.resolve()
  }

  private send(slice: SliceContext): void {
    if (this.rows === this.unsentFrom) return
    const ids = this.rowsFrom(this.unsentFrom)
    this.unsentFrom = this.rows
    const sent = this.calls.ask(slice, () => this.put(ids))
    // Whoever waits for it in `written` gets the error.
    sent.catch(() => {})
    this.sent.push(sent)
  }

  private put(ids: readonly ExclusiveId[]): Promise<void> {
    const { store, withinMs } = this.settings
    const last = ids.at(-1) as ExclusiveId
    return store.exclusive.put(ids, (last.section + 2) * withinMs - this.clock.now() + SLACK_MS, withinMs)
  }

  private rowsFrom(first: number): ExclusiveId[] {
    return Array.from({ length: this.rows - first }, (_, i) => this.exclusiveId(first + i))
  }

  private exclusiveId(row: number): ExclusiveId {
    const { topic, partition, at, section } = this.runs[row] as Run
    return {
      id: this.passed.idOf(row),
      origin: { topic, partition, offset: this.offsets[row] as number },
      at,
      section,
      writer: this.writer,
      duplicates: 0,
      result: undefined,
    }
  }

  private next(): void {
    this.writer = `${this.member}.${(++this.turn).toString(36)}`
    this.passed.reset()
    this.offsets = []
    this.runs = []
    this.run = undefined
    this.rows = 0
    this.unsentFrom = 0
    this.met = new Map()
    this.overruled = []
    this.sent = []
  }
}
