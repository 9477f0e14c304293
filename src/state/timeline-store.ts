import { Due, NEVER, type DueItem } from './due.js'
import { Entry } from './entry.js'
import { EntryStore, type EntryStoreOptions } from './entry-store.js'
import type { KeyText } from './key.js'
import type { StoreSpec } from './store.js'
import { TimeTree, type Folding, type TreeNode } from './time-tree.js'

/** The value of one key at one time. */
export class TimelineEntry<V> extends Entry<V> implements DueItem, TreeNode<TimelineEntry<V>> {
  dueAt = NEVER
  left: TimelineEntry<V> | undefined = undefined
  right: TimelineEntry<V> | undefined = undefined
  sum: unknown = undefined

  constructor(
    readonly line: Timeline<V>,
    readonly time: number,
    readonly seq: number,
  ) {
    super(undefined)
  }

  get key(): KeyText {
    return this.line.key
  }
}

/** All entries of one key that have a value, by time; and those deleted since the last commit. */
class Timeline<V> extends TimeTree<TimelineEntry<V>> {
  /** Most keys have one at most: a map for each would be more than the entry. */
  private gone: TimelineEntry<V> | undefined = undefined
  private moreGone: Map<number | string, TimelineEntry<V>> | undefined = undefined

  constructor(readonly key: KeyText) {
    super()
  }

  get hasGone(): boolean {
    return this.gone !== undefined || this.moreGone !== undefined
  }

  setGone(entry: TimelineEntry<V>): void {
    if (this.gone === undefined) this.gone = entry
    else (this.moreGone ??= new Map()).set(placeOf(entry.time, entry.seq), entry)
  }

  findGone(time: number, seq: number): TimelineEntry<V> | undefined {
    const { gone, moreGone } = this
    if (gone !== undefined && gone.time === time && gone.seq === seq) return gone
    return moreGone?.get(placeOf(time, seq))
  }

  takeGone(time: number, seq: number): TimelineEntry<V> | undefined {
    const entry = this.findGone(time, seq)
    if (entry === undefined) return undefined
    if (entry === this.gone) this.gone = undefined
    else if (this.moreGone?.delete(placeOf(time, seq)) === true && this.moreGone.size === 0) this.moreGone = undefined
    return entry
  }

  *allGone(): IterableIterator<TimelineEntry<V>> {
    if (this.gone !== undefined) yield this.gone
    if (this.moreGone !== undefined) yield* this.moreGone.values()
  }
}

function placeOf(time: number, seq: number): number | string {
  return seq === 0 ? time : `${time}/${seq}`
}

export interface TimelineStoreOptions<V> extends Omit<EntryStoreOptions<V>, 'timed' | 'keepsTime'> {
  /**
   * The stream time at which an entry wants to be looked at next, when all up to `handled` has been: infinity for never. For an entry it
   * may change to later while nobody says so, to earlier only by `put`.
   */
  readonly due: (time: number, value: V, handled: number) => number
}

/**
 * Values by key and time, in order of time for each key, and what comes due by stream time.
 *
 * Memory: about 190 bytes an entry and 100 a key beside keys and values. What one thing costs goes with the logarithm of what a key holds,
 * a commit with what changed.
 */
export class TimelineStore<V> extends EntryStore<V, TimelineEntry<V>> {
  private readonly lines = new Map<KeyText, Timeline<V>>()
  private readonly index: Due<TimelineEntry<V>>
  private readonly emptied = new Set<Timeline<V>>()
  private readonly due: TimelineStoreOptions<V>['due']

  constructor(options: TimelineStoreOptions<V>) {
    super({ ...options, timed: true })
    const { due } = options
    this.due = due
    this.index = new Due({ dueOf: ({ time, value }, stoodAt) => (value === undefined ? NEVER : due(time, value, stoodAt - 1)) })
  }

  /** The entry at just this time, if it has a value. */
  entry(key: KeyText, time: number): TimelineEntry<V> | undefined {
    return this.lines.get(key)?.find(time)
  }

  /** The entries of a key with a value, from `from` to `to`, both included, in order of time. */
  range(key: KeyText, from = Number.NEGATIVE_INFINITY, to = NEVER): TimelineEntry<V>[] {
    const found: TimelineEntry<V>[] = []
    this.lines.get(key)?.each(from, to, (entry) => found.push(entry))
    return found
  }

  /** The first entry of a key with a value, not before `from`. */
  first(key: KeyText, from = Number.NEGATIVE_INFINITY): TimelineEntry<V> | undefined {
    return this.lines.get(key)?.first(from)
  }

  /** The last entry of a key with a value, not after `to`. */
  last(key: KeyText, to = NEVER): TimelineEntry<V> | undefined {
    return this.lines.get(key)?.last(to)
  }

  /** What the entries of a key from `from` to `to` come to; it may be the value of one of them, and is not to be changed. */
  fold<S>(key: KeyText, from: number, to: number, folding: Folding<TimelineEntry<V>, S>): S | undefined {
    return this.lines.get(key)?.fold(from, to, folding)
  }

  /** The value itself is not to be changed afterwards, unless by `edit`. */
  put(key: KeyText, time: number, value: V): TimelineEntry<V> {
    return this.set(this.open(key, time, 0), value)
  }

  /** Puts a value beside those that the key has at this time, behind them. */
  append(key: KeyText, time: number, value: V): TimelineEntry<V> {
    const last = this.last(key, time)
    return this.set(this.open(key, time, last?.time === time ? last.seq + 1 : 0), value)
  }

  /** Puts another value in place of an entry's. */
  set(entry: TimelineEntry<V>, value: V): TimelineEntry<V> {
    this.touch(entry, false)
    entry.value = value
    entry.line.changed(entry)
    this.queue(entry)
    return entry
  }

  /** Announces a change: the caller sets `value`, to something else or to the same object with other content. */
  edit(entry: TimelineEntry<V>): void {
    this.touch(entry, true)
    entry.line.changed(entry)
  }

  override remove(entry: TimelineEntry<V>): void {
    if (entry.value === undefined) return
    super.remove(entry)
    const { line } = entry
    line.remove(entry)
    line.setGone(entry)
  }

  /**
   * Hands out what is due at `streamTime`, earliest first, each with the time it was due. An entry that is neither deleted meanwhile nor
   * due later comes no more.
   */
  expire(streamTime: number, visit: (entry: TimelineEntry<V>, at: number) => void): void {
    const { index } = this
    while (index.notBefore <= streamTime) {
      const at = index.next
      const entry = index.take(streamTime)
      if (entry === undefined) return
      visit(entry, at)
      if (entry.value === undefined) continue
      const next = this.due(entry.time, entry.value, at)
      if (next > at && next < NEVER) index.push(entry, next)
    }
  }

  /** Before this stream time nothing comes due; infinity for never. */
  get nextDue(): number {
    return this.index.notBefore
  }

  /** All keys there is something of, deleted since the last commit included. */
  keys(): IterableIterator<KeyText> {
    return this.lines.keys()
  }

  /** Key and value of all there is. */
  *[Symbol.iterator](): IterableIterator<readonly [KeyText, V, time: number]> {
    for (const { key } of this.lines.values()) for (const { value, time } of this.range(key)) yield [key, value as V, time]
  }

  override seal(): void {
    super.seal()
    this.index.seal()
  }

  override commit(): void {
    super.commit()
    this.index.commit(this.size)
  }

  override rollback(): void {
    const changed = [...this.changed, ...(this.sealed?.changed ?? [])]
    super.rollback()
    for (const entry of changed) {
      const { line } = entry
      line.changed(entry)
      if (entry.value !== undefined && line.takeGone(entry.time, entry.seq) !== undefined) line.add(entry)
    }
    this.index.rollback(this.size)
  }

  override loaded(): void {
    this.index.clear()
    for (const entry of this.all()) {
      entry.dueAt = NEVER
      this.queue(entry)
    }
  }

  protected *all(): IterableIterator<TimelineEntry<V>> {
    for (const line of this.lines.values()) {
      yield* this.range(line.key)
      yield* line.allGone()
    }
  }

  protected find(key: KeyText, time: number, seq = 0): TimelineEntry<V> | undefined {
    const line = this.lines.get(key)
    return line?.find(time, seq) ?? line?.findGone(time, seq)
  }

  protected open(key: KeyText, time: number, seq: number): TimelineEntry<V> {
    let line = this.lines.get(key)
    if (line === undefined) this.lines.set(key, (line = new Timeline<V>(key)))
    const found = line.find(time, seq)
    if (found !== undefined) return found
    const entry = line.takeGone(time, seq) ?? new TimelineEntry<V>(line, time, seq)
    line.add(entry)
    return entry
  }

  protected drop(entry: TimelineEntry<V>): void {
    const { line } = entry
    // One that was put in this transaction and is undone still stands in its place.
    if (line.takeGone(entry.time, entry.seq) === undefined) line.remove(entry)
    if (line.isEmpty) this.emptied.add(line)
  }

  protected override dropped(): void {
    if (this.emptied.size === 0) return
    for (const line of this.emptied) {
      if (line.isEmpty && !line.hasGone) this.lines.delete(line.key)
    }
    this.emptied.clear()
  }

  private queue(entry: TimelineEntry<V>): void {
    const at = this.due(entry.time, entry.value as V, this.streamTime)
    if (at < NEVER) this.index.push(entry, at)
  }
}

/** Values by key and time, looked up by stretches of time. */
export function timelineStore<V>(
  spec: { readonly name: string; readonly kind: string } & TimelineStoreOptions<V>,
): StoreSpec<TimelineStore<V>> {
  const { name, kind, version } = spec
  return { name, kind, version, create: () => new TimelineStore<V>(spec) }
}
