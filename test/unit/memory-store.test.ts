import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { json } from '../../src/record/serde.js'
import { MemoryStore } from '../../src/state/memory-store.js'

interface Box {
  n: number
}

type Step =
  | { readonly kind: 'put' | 'edit'; readonly key: string; readonly time: number; readonly n: number }
  | { readonly kind: 'delete'; readonly key: string; readonly time: number }
  | { readonly kind: 'advance'; readonly time: number }
  | { readonly kind: 'commit' | 'rollback' }

const key = fc.constantFrom('a', 'b', 'c', 'é', '')
const time = fc.nat(3)
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 5, arbitrary: fc.record({ kind: fc.constantFrom('put' as const, 'edit' as const), key, time, n: fc.nat(100) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('delete' as const), key, time }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('advance' as const), time: fc.nat(50) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constantFrom('commit' as const, 'rollback' as const) }) },
)

/** The same, as anybody would write it: copies of everything. */
class Model {
  values = new Map<string, number>()
  streamTime = Number.NEGATIVE_INFINITY
  committed = { values: new Map<string, number>(), streamTime: Number.NEGATIVE_INFINITY }

  apply(one: Step): void {
    if (one.kind === 'put' || one.kind === 'edit') this.values.set(`${one.time}/${one.key}`, one.n)
    else if (one.kind === 'delete') this.values.delete(`${one.time}/${one.key}`)
    else if (one.kind === 'advance') this.streamTime = Math.max(this.streamTime, one.time)
    else if (one.kind === 'commit') this.committed = { values: new Map(this.values), streamTime: this.streamTime }
    else
      ({ values: this.values, streamTime: this.streamTime } = {
        values: new Map(this.committed.values),
        streamTime: this.committed.streamTime,
      })
  }
}

const make = (): MemoryStore<Box> => new MemoryStore<Box>({ serde: json<Box>(), timed: true, version: 1 })
const content = (store: MemoryStore<Box>): [string, number][] =>
  [...store].map(([key, { n }, time]): [string, number] => [`${time}/${Buffer.from(key, 'latin1').toString('utf8')}`, n]).sort()
const sorted = (map: Map<string, number>): [string, number][] => [...map].sort()
const text = (key: string): string => Buffer.from(key, 'utf8').toString('latin1')

/** A changelog that keeps the last of each key, and a store made of it. */
class Changelog {
  readonly records = new Map<string, { readonly key: Buffer; readonly value: Buffer | null }>()

  write(store: MemoryStore<Box>): void {
    store.changes((key, value) => {
      const bytes = Buffer.from(key)
      this.records.set(bytes.toString('hex'), { key: bytes, value: value === null ? null : Buffer.from(value as string) })
    })
  }

  restored(): MemoryStore<Box> {
    const store = make()
    for (const { key, value } of this.records.values()) store.load(key, value, 1)
    store.loaded()
    return store
  }
}

function run(steps: readonly Step[], store: MemoryStore<Box>, model: Model, changelog: Changelog): void {
  for (const one of steps) {
    model.apply(one)
    switch (one.kind) {
      case 'put':
        store.put(text(one.key), { n: one.n }, one.time)
        break
      case 'edit': {
        const entry = store.edit(text(one.key), one.time)
        // In place, as aggregators may.
        if (entry.value === undefined) entry.value = { n: one.n }
        else entry.value.n = one.n
        break
      }
      case 'delete':
        store.delete(text(one.key), one.time)
        break
      case 'advance':
        store.advance(one.time)
        break
      case 'commit':
        changelog.write(store)
        store.commit()
        break
      case 'rollback':
        store.rollback()
    }
    expect(content(store)).toEqual(sorted(model.values))
    expect(store.streamTime).toBe(model.streamTime)
  }
}

describe('the memory store', () => {
  it('holds what a plain map holds, through commits and rollbacks, values changed in place included', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60, size: 'max' }), (steps) => {
        const store = make()
        const model = new Model()
        run(steps, store, model, new Changelog())
        for (const [id, n] of model.committed.values) {
          const [time, key] = id.split('/') as [string, string]
          expect(store.committed(text(key), Number(time))).toEqual({ n })
        }
      }),
      { numRuns: 300 },
    )
  })

  it('is at its last commit again when made from its changelog', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60, size: 'max' }), (steps) => {
        const model = new Model()
        const changelog = new Changelog()
        run(steps, make(), model, changelog)
        const restored = changelog.restored()
        expect(content(restored)).toEqual(sorted(model.committed.values))
        expect(restored.streamTime).toBe(model.committed.streamTime)
        expect(restored.size).toBe(model.committed.values.size)
      }),
      { numRuns: 300 },
    )
  })

  it('writes each changed key once a commit, and nothing for what came and went', () => {
    const store = make()
    for (let i = 0; i < 5; i++) store.put('a', { n: i })
    store.put('gone', { n: 1 })
    store.delete('gone')
    const written: [string, string | null][] = []
    store.changes((key, value) => written.push([Buffer.from(key).subarray(0, -8).toString(), value as string | null]))
    expect(written).toEqual([['a', '{"n":4}']])
  })

  it.each([
    [
      'a put that forgets the old value',
      (store: MemoryStore<Box>) =>
        (store.put = (key, value, time) =>
          void (store.edit(key, time).value = Object.assign(store.edit(key, time), { old: undefined, value }).value)),
    ],
    [
      'an edit without a snapshot',
      (store: MemoryStore<Box>) => {
        const edit = store.edit.bind(store)
        store.edit = (key, time) => {
          const entry = edit(key, time)
          entry.old = entry.value
          return entry
        }
      },
    ],
    [
      'a rollback that keeps the stream time',
      (store: MemoryStore<Box>) => {
        const rollback = store.rollback.bind(store)
        store.rollback = () => {
          const { streamTime } = store
          rollback()
          store.advance(streamTime)
        }
      },
    ],
  ])('is caught by the first test: %s', (_, breakIt) => {
    expect(() =>
      fc.assert(
        fc.property(fc.array(step, { maxLength: 60, size: 'max' }), (steps) => {
          const store = make()
          breakIt(store)
          run(steps, store, new Model(), new Changelog())
        }),
        { numRuns: 500 },
      ),
    ).toThrow()
  })
})
