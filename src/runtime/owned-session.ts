import { randomBytes } from 'node:crypto'
import type { Clock } from '../record/clock.js'
import type { Logger } from '../record/logger.js'
import type { Origin } from '../record/record.js'
import type { ClaimStore, OwnedId, OwnedIds } from '../state/claim-store.js'
import type { Participant, SliceContext } from './context.js'
import { StoreCalls } from './store-calls.js'

export interface OwnedSettings {
  readonly what: string
  readonly store: ClaimStore & { readonly owned: OwnedIds }
  readonly withinMs: number
}

/** An id that passed in the open transaction, or one of before that was met again. */
export class OwnedEntry implements OwnedId {
  duplicates = 0
  result: string | undefined = undefined

  constructor(
    readonly id: string,
    private readonly topic: string,
    private readonly partition: number,
    private readonly offset: number,
    readonly at: number,
    readonly section: number,
    readonly writer: string,
  ) {}

  get origin(): Origin {
    return { topic: this.topic, partition: this.partition, offset: this.offset }
  }
}

/** Ids written in one call: they only have to be there before the commit. */
const BATCH = 4_096
/** Sections are forgotten when a new one begins; this much later they would expire. */
const SLACK_MS = 60_000

/**
 * The ids of one `dedupe` with a Bloom filter, transaction by transaction, over all tasks of the pipeline: written as they pass, without asking, and taken out again
 * where the transaction does not commit.
 */
export class OwnedSession implements Participant {
  private readonly member = randomBytes(6).toString('base64url')
  private turn = 0
  /** Names the open transaction. */
  writer = `${this.member}.0`
  /** What passed in the open transaction. */
  private passed = new Map<string, OwnedEntry>()
  /** Of before, and met again in it: with their counts and results. */
  private met = new Map<string, OwnedEntry>()
  private unsent: OwnedEntry[] = []
  private sent: Promise<unknown>[] = []
  private readonly calls: StoreCalls

  constructor(
    private readonly settings: OwnedSettings,
    private readonly clock: Clock,
    logger: Logger,
  ) {
    this.calls = new StoreCalls(settings.what, settings.store.name, settings.withinMs, clock, logger)
  }

  /** The record that passed with the id in the open transaction. */
  inTransaction(id: string): OwnedEntry | undefined {
    return this.passed.get(id)
  }

  pass(entry: OwnedEntry, slice: SliceContext): void {
    this.passed.set(entry.id, entry)
    this.unsent.push(entry)
    if (this.unsent.length >= BATCH) this.send(slice)
  }

  lookUp(ids: readonly string[], sections: readonly number[], slice: SliceContext): Promise<readonly (OwnedId | undefined)[]> {
    return this.calls.ask(slice, () => this.settings.store.owned.get(ids, sections))
  }

  countDuplicate(held: OwnedId): void {
    this.entryOf(held).duplicates++
  }

  /** False if the open transaction has nothing to do with the id. */
  keepResult(id: string, result: string): boolean {
    const entry = this.passed.get(id) ?? this.met.get(id)
    if (entry === undefined) return false
    entry.result = result
    if (this.passed.has(id)) this.met.set(id, entry)
    return true
  }

  /** Notes that the record of an id of before has come again. */
  meet(held: OwnedId): void {
    this.entryOf(held)
  }

  forget(section: number): void {
    void this.calls.tell(() => this.settings.store.owned.forget(section))
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
    const passed = [...this.passed.values()]
    this.next()
    // In the log or not: where it is not, the ids stand for records that come again, and are known by their origin.
    return certain && passed.length > 0 ? this.calls.tell(() => this.settings.store.owned.remove(passed)) : Promise.resolve()
  }

  private entryOf(held: OwnedId): OwnedEntry {
    const known = this.passed.get(held.id) ?? this.met.get(held.id)
    if (known !== undefined) {
      this.met.set(held.id, known)
      return known
    }
    const { id, origin, at, section, writer } = held
    const entry = new OwnedEntry(id, origin.topic, origin.partition, origin.offset, at, section, writer)
    entry.duplicates = held.duplicates
    entry.result = held.result
    this.met.set(id, entry)
    return entry
  }

  private send(slice: SliceContext): void {
    if (this.unsent.length === 0) return
    const ids = this.unsent
    this.unsent = []
    const sent = this.calls.ask(slice, () => this.put(ids))
    // Whoever waits for it in `written` gets the error.
    sent.catch(() => {})
    this.sent.push(sent)
  }

  private put(ids: readonly OwnedId[]): Promise<void> {
    const { store, withinMs } = this.settings
    const last = ids.at(-1) as OwnedId
    return store.owned.put(ids, (last.section + 2) * withinMs - this.clock.now() + SLACK_MS, withinMs)
  }

  private next(): void {
    this.writer = `${this.member}.${(++this.turn).toString(36)}`
    this.passed = new Map()
    this.met = new Map()
    this.unsent = []
    this.sent = []
  }
}
