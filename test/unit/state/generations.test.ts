import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { json } from '../../../src/record/serde.js'
import { BoundedStore } from '../../../src/operators/store/bounded-store.js'
import { storedForm } from '../../../src/operators/store/stored-value.js'
import { DueStore, nextOrder } from '../../../src/state/due-store.js'
import type { EntryStore } from '../../../src/state/entry-store.js'
import { MemoryStore } from '../../../src/state/memory-store.js'
import { TimelineStore } from '../../../src/state/timeline-store.js'

/** What a kind of store does, and beside it a Map that is copied for each transaction. */
type Values = Map<string, { readonly n: number; readonly from: number }>
interface Content {
  readonly values: Values
  readonly time: number
}

const LIFE = 20
const nothing = (): Content => ({ values: new Map(), time: Number.NEGATIVE_INFINITY })
const numbersOf = ({ values }: Content): [string, number][] => [...values].map(([place, { n }]): [string, number] => [place, n]).sort()
const copyOf = ({ values, time }: Content): Content => ({ values: new Map(values), time })

interface Box {
  n: number
}

interface Kind {
  readonly name: string
  make(): EntryStore<never, never>
  put(store: never, key: string, time: number, n: number): void
  edit(store: never, key: string, time: number, n: number): void
  remove(store: never, key: string, time: number): void
  /** Stream time is `time`: what is due goes. */
  expire(store: never, time: number): void
  /** Since when it is there, of what was put at a time while stream time was another. */
  from(time: number, streamTime: number): number
  contents(store: never): [string, number][]
  numberIn(value: unknown): number
}

const placeOf = (key: string, time: number): string => `${key}@${time}`
const timed: Kind = {
  name: 'windows',
  make: () => new MemoryStore<Box>({ serde: json<Box>(), timed: true, version: 1 }) as never,
  put: (store: MemoryStore<Box>, key, time, n) => store.put(key, { n }, time),
  edit(store: MemoryStore<Box>, key, time, n) {
    const entry = store.edit(key, time)
    if (entry.value === undefined) entry.value = { n }
    else entry.value.n = n
  },
  remove: (store: MemoryStore<Box>, key, time) => void store.delete(key, time),
  expire(store: MemoryStore<Box>, time) {
    store.advance(time)
    store.expire(time - LIFE, (_, entries) => {
      for (const entry of entries) if (entry.value !== undefined) store.remove(entry)
    })
  },
  from: (time) => time,
  contents: (store: MemoryStore<Box>) => [...store].map(([key, { n }, time]) => [placeOf(key, time), n]),
  numberIn: (value) => (value as Box).n,
}
const timeline: Kind = {
  name: 'timelines',
  make: () => new TimelineStore<Box>({ serde: json<Box>(), version: 1, due: (time) => time + LIFE }) as never,
  put: (store: TimelineStore<Box>, key, time, n) => void store.put(key, time, { n }),
  edit(store: TimelineStore<Box>, key, time, n) {
    const entry = store.entry(key, time)
    if (entry === undefined) return void store.put(key, time, { n })
    store.edit(entry)
    ;(entry.value as Box).n = n
  },
  remove(store: TimelineStore<Box>, key, time) {
    const entry = store.entry(key, time)
    if (entry !== undefined) store.remove(entry)
  },
  expire(store: TimelineStore<Box>, time) {
    store.advance(time)
    store.expire(time, (entry) => store.remove(entry))
  },
  from: (time) => time,
  contents: (store: TimelineStore<Box>) => [...store].map(([key, { n }, time]) => [placeOf(key, time), n]),
  numberIn: (value) => (value as Box).n,
}
interface DueBox {
  readonly at: number
  readonly order: number
  readonly n: number
}
const due: Kind = {
  name: 'what waits',
  make: () => new DueStore<DueBox>({ serde: json<DueBox>(), timed: false, keepsTime: true, hasTimeKey: true, version: 1 }) as never,
  put: (store: DueStore<DueBox>, key, time, n) => store.put(placeOf(key, time), { at: time + LIFE, order: nextOrder(), n }),
  edit: (store: DueStore<DueBox>, key, time, n) => due.put(store as never, key, time, n),
  remove: (store: DueStore<DueBox>, key, time) => void store.delete(placeOf(key, time)),
  expire(store: DueStore<DueBox>, time) {
    store.advance(time)
    let last = Number.NEGATIVE_INFINITY
    for (let value = store.take(time); value !== undefined; value = store.take(time)) {
      expect(value.at).toBeGreaterThanOrEqual(last)
      last = value.at
    }
    expect(store.nextAt).toBeGreaterThan(time)
  },
  from: (time) => time,
  contents: (store: DueStore<DueBox>) => [...store].map(([place, { n }]) => [place, n]),
  numberIn: (value) => (value as DueBox).n,
}
const form = storedForm<number>(json<number>(), true)
const bounded: Kind = {
  name: 'values with a time to live',
  make: () => new BoundedStore<number>({ serde: form.serde, version: 1 }, { ttlMs: LIFE, by: 'event', maxEntries: undefined }) as never,
  put: (store: BoundedStore<number>, key, time, n) => store.write(placeOf(key, time), form.put(n, Math.max(store.streamTime, 0))),
  edit: (store: BoundedStore<number>, key, time, n) => bounded.put(store as never, key, time, n),
  remove: (store: BoundedStore<number>, key, time) => void store.erase(placeOf(key, time)),
  expire(store: BoundedStore<number>, time) {
    store.tick(time)
    expect(store.present).toBe([...store].length)
  },
  from: (_, streamTime) => Math.max(streamTime, 0),
  contents: (store: BoundedStore<number>) => [...store].map(([place, value]) => [place, value.copy()]),
  numberIn: (value) => value as number,
}

type Step =
  | { readonly do: 'put' | 'edit'; readonly key: string; readonly time: number; readonly n: number }
  | { readonly do: 'remove'; readonly key: string; readonly time: number }
  | { readonly do: 'advance'; readonly by: number }
  | { readonly do: 'seal' | 'commit' | 'rollback' | 'restart' }

const key = fc.constantFrom('a', 'b', 'é')
const time = fc.nat(4)
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 10, arbitrary: fc.record({ do: fc.constantFrom('put' as const, 'edit' as const), key, time, n: fc.nat(99) }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('remove' as const), key, time }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('advance' as const), by: fc.integer({ min: 1, max: 12 }) }) },
  { weight: 8, arbitrary: fc.record({ do: fc.constantFrom('seal' as const, 'commit' as const) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('rollback' as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('restart' as const) }) },
)

/** A store beside its model, as the engine uses it: a transaction is sealed when the one before it is decided. */
class Course {
  store: EntryStore<never, never>
  private open = nothing()
  private sealed: Content | undefined
  private committed = nothing()
  private readonly log = new Map<string, Buffer>()
  private readonly sent = new Map<string, Buffer | null>()

  constructor(private readonly kind: Kind) {
    this.store = kind.make()
  }

  take(one: Step): void {
    const { kind, open } = this
    const store = this.store as never
    switch (one.do) {
      case 'put':
      case 'edit':
        kind[one.do](store, one.key, one.time, one.n)
        open.values.set(placeOf(one.key, one.time), { n: one.n, from: kind.from(one.time, open.time) })
        break
      case 'remove':
        kind.remove(store, one.key, one.time)
        open.values.delete(placeOf(one.key, one.time))
        break
      case 'advance': {
        const to = Math.max(open.time, 0) + one.by
        kind.expire(store, to)
        this.open = { values: new Map([...open.values].filter(([, { from }]) => from + LIFE > to)), time: to }
        break
      }
      case 'seal':
        if (this.sealed !== undefined) this.commit()
        this.seal()
        break
      case 'commit':
        if (this.sealed === undefined) this.seal()
        this.commit()
        break
      case 'rollback':
        this.store.rollback()
        this.sealed = undefined
        this.open = copyOf(this.committed)
        break
      case 'restart':
        this.store = this.restored()
        this.sealed = undefined
        this.open = copyOf(this.committed)
    }
    this.check()
  }

  private seal(): void {
    this.sent.clear()
    this.store.changes((at, value) => this.sent.set(Buffer.from(at).toString('hex'), value === null ? null : Buffer.from(value as string)))
    this.store.seal()
    this.sealed = copyOf(this.open)
  }

  private commit(): void {
    for (const [at, value] of this.sent) {
      if (value === null) this.log.delete(at)
      else this.log.set(at, value)
    }
    this.store.commit()
    this.committed = this.sealed as Content
    this.sealed = undefined
  }

  private restored(): EntryStore<never, never> {
    const store = this.kind.make()
    for (const [at, value] of this.log) void store.load(Buffer.from(at, 'hex'), value, 1)
    store.loaded()
    return store
  }

  private check(): void {
    const { store, kind, open, committed } = this
    const seen = [...store.queriedEntries()].map(([at, value, time]): [string, number] => [
      store.timed ? placeOf(at, time) : at,
      kind.numberIn(value),
    ])
    expect(kind.contents(store as never).sort()).toEqual(numbersOf(open))
    expect(seen.sort()).toEqual(numbersOf(committed))
    expect(store.streamTime).toBe(open.time)
    expect(store.size).toBe(committed.values.size)
    const again = this.restored()
    expect(kind.contents(again as never).sort()).toEqual(numbersOf(committed))
    expect(store.extent).toEqual(again.extent)
  }
}

describe('a store that is changed while what changed before goes to the log', () => {
  for (const kind of [timed, timeline, due, bounded]) {
    it(`is what copies of a Map are: ${kind.name}`, () => {
      fc.assert(
        fc.property(fc.array(step, { maxLength: 80, size: 'max' }), (steps) => {
          const course = new Course(kind)
          for (const one of steps) course.take(one)
        }),
        { numRuns: 100 },
      )
    })
  }
})
