import { describe, expect, it } from 'vitest'
import fc from 'fast-check'
import { json } from '../../../src/record/serde.js'
import { TimelineStore } from '../../../src/state/timeline-store.js'

const LIFE = 10

/** A list of names at each time; due `LIFE` after it. */
function makeStore(): TimelineStore<string[]> {
  return new TimelineStore<string[]>({ serde: json<string[]>(), version: 1, due: (time) => time + LIFE })
}

type Changes = [key: string, value: string | null][]

function changesOf(store: TimelineStore<string[]>): Changes {
  const changes: Changes = []
  store.changes((key, value) =>
    changes.push([Buffer.from(key).toString('latin1'), value === null ? null : Buffer.from(value as Uint8Array).toString()]),
  )
  return changes
}

/** What another store reads from the first one's changelog. */
function reloaded(logs: readonly Changes[]): TimelineStore<string[]> {
  const store = makeStore()
  for (const [key, value] of logs.flat()) store.load(Buffer.from(key, 'latin1'), value === null ? null : Buffer.from(value), 1)
  store.loaded()
  return store
}

const contents = (store: TimelineStore<string[]>): string[] =>
  [...store].map(([key, value, time]) => `${key}@${time}: ${value.join(',')}`).sort()
const times = (entries: readonly { readonly time: number }[]): number[] => entries.map(({ time }) => time)

function add(store: TimelineStore<string[]>, key: string, time: number, name: string): void {
  const entry = store.entry(key, time)
  if (entry === undefined) store.put(key, time, [name])
  else {
    store.edit(entry)
    entry.value?.push(name)
  }
}

function expired(store: TimelineStore<string[]>, streamTime: number): string[] {
  const out: string[] = []
  store.advance(streamTime)
  store.expire(streamTime, (entry, at) => {
    out.push(`${entry.key}@${entry.time} at ${at}`)
    store.remove(entry)
  })
  return out
}

describe('timeline store', () => {
  it('finds entries of a key by stretches of time, both ends included', () => {
    const store = makeStore()
    for (const time of [5, 1, 9, 7, 3]) store.put('a', time, [`t${time}`])
    store.put('b', 4, ['other'])
    expect(times(store.range('a'))).toEqual([1, 3, 5, 7, 9])
    expect(times(store.range('a', 3, 7))).toEqual([3, 5, 7])
    expect(times(store.range('a', 4, 6))).toEqual([5])
    expect(times(store.range('a', 10))).toEqual([])
    expect(store.last('a')?.time).toBe(9)
    expect(store.last('a', 6)?.time).toBe(5)
    expect(store.last('a', 0)).toBeUndefined()
    expect(store.range('none')).toEqual([])
  })

  it('keeps several values of one key at one time, in the order they came', () => {
    const store = makeStore()
    for (const name of ['x', 'y', 'z']) add(store, 'a', 1, name)
    expect(contents(store)).toEqual(['a@1: x,y,z'])
  })

  it('numbered, it keeps the values of one time apart: each is written once, and comes back as it was', () => {
    const make = (): TimelineStore<string> =>
      new TimelineStore<string>({ serde: json<string>(), version: 1, numbered: true, due: (time) => time + LIFE })
    const store = make()
    const log = new Map<string, Buffer>()
    let written = 0
    const commit = (): void => {
      store.changes((key, value) => {
        const at = Buffer.from(key).toString('hex')
        if (value === null) log.delete(at)
        else log.set(at, Buffer.from(value as string))
        if (key.length > 0) written++
      })
      store.commit()
    }
    const held = (from = store): (string | undefined)[] => from.range('a').map(({ value }) => value)
    for (const name of ['v', 'w', 'x']) {
      store.append('a', 5, name)
      commit()
    }
    expect(written).toBe(3)
    store.append('a', 4, 'before')
    store.remove(store.range('a', 5)[1] as never)
    store.append('a', 5, 'undone')
    store.rollback()
    expect(held()).toEqual(['v', 'w', 'x'])
    store.remove(store.last('a') as never)
    store.append('a', 5, 'y')
    expect(held()).toEqual(['v', 'w', 'y'])
    commit()
    const restored = make()
    for (const [key, value] of log) restored.load(Buffer.from(key, 'hex'), value, 1)
    restored.loaded()
    expect(held(restored)).toEqual(['v', 'w', 'y'])
    expect(restored.size).toBe(3)
    expect(restored.extent).toEqual(store.extent)
  })

  it('does not find what is deleted, before the commit either', () => {
    const store = makeStore()
    for (const time of [1, 2, 3]) store.put('a', time, ['x'])
    store.commit()
    store.remove(store.range('a', 2, 2)[0] as never)
    expect(store.entry('a', 2)).toBeUndefined()
    expect(times(store.range('a'))).toEqual([1, 3])
    expect(store.committed('a', 2)).toEqual(['x'])
    store.commit()
    expect(times(store.range('a'))).toEqual([1, 3])
    expect(store.committed('a', 2)).toBeUndefined()
    expect(store.size).toBe(2)
  })

  it('writes each changed key once, and nothing of what came and went', () => {
    const store = makeStore()
    store.put('a', 1, ['x'])
    store.put('a', 2, ['y'])
    store.commit()
    add(store, 'a', 1, 'z')
    add(store, 'a', 1, 'z2')
    store.remove(store.entry('a', 2) as never)
    store.remove(store.put('b', 3, ['gone']))
    expect(changesOf(store).map(([key, value]) => [key.slice(0, 1), value])).toEqual([
      ['a', '["x","z","z2"]'],
      ['a', null],
    ])
  })

  it('is as before after a rollback: values changed in place, deletions, stream time, and what is due', () => {
    const store = makeStore()
    add(store, 'a', 1, 'x')
    add(store, 'a', 5, 'y')
    store.advance(6)
    store.commit()
    const before = contents(store)

    add(store, 'a', 1, 'z')
    add(store, 'c', 2, 'new')
    expect(expired(store, 11)).toEqual(['a@1 at 11'])
    store.rollback()
    expect(contents(store)).toEqual(before)
    expect(store.streamTime).toBe(6)
    expect(expired(store, 100)).toEqual(['a@1 at 11', 'a@5 at 15'])
  })

  it('hands out what is due, earliest first, once', () => {
    const store = makeStore()
    for (const [key, time] of [
      ['a', 5],
      ['b', 1],
      ['a', 3],
      ['c', 9],
    ] as const)
      store.put(key, time, ['x'])
    expect(expired(store, 10)).toEqual([])
    expect(expired(store, 15)).toEqual(['b@1 at 11', 'a@3 at 13', 'a@5 at 15'])
    store.commit()
    expect(expired(store, 15)).toEqual([])
    expect(store.nextDue).toBe(19)
    expect(expired(store, 100)).toEqual(['c@9 at 19'])
  })

  it('hands out once more after a rollback what was looked at and stayed', () => {
    // Due at 5 after its time and once more at 10.
    const store = new TimelineStore<string>({
      serde: json<string>(),
      version: 1,
      due: (time, _value, handled) => (handled < time + 5 ? time + 5 : time + 10),
    })
    const seen = (streamTime: number): string[] => {
      const out: string[] = []
      store.advance(streamTime)
      store.expire(streamTime, (entry, at) => {
        out.push(`${entry.time} at ${at}`)
        if (at === entry.time + 10) store.remove(entry)
      })
      return out
    }
    store.put('a', 1, 'x')
    store.put('a', 3, 'y')
    store.commit()
    expect(seen(9)).toEqual(['1 at 6', '3 at 8'])
    store.rollback()
    expect(seen(7)).toEqual(['1 at 6'])
    store.commit()
    expect(seen(20)).toEqual(['3 at 8', '1 at 11', '3 at 13'])
    store.commit()
    expect(store.isEmpty).toBe(true)
  })

  it('looks again at what became due later meanwhile, and not before', () => {
    const store = new TimelineStore<number>({ serde: json<number>(), version: 1, due: (_time, value) => value })
    const entry = store.put('a', 1, 10)
    store.edit(entry)
    entry.value = 20
    const seen: number[] = []
    store.expire(15, (_, at) => seen.push(at))
    expect(seen).toEqual([])
    store.commit()
    store.put('a', 1, 5)
    store.rollback()
    store.expire(30, ({ value }) => seen.push(value as number))
    expect(seen).toEqual([20])
  })

  it('behaves like a plain list under any course of transactions and restarts', () => {
    type Row = { key: string; time: number; names: string[] }
    const key = fc.constantFrom('a', 'b', 'ab')
    const time = fc.integer({ min: 0, max: 30 })
    const step = fc.oneof(
      { weight: 6, arbitrary: fc.record({ op: fc.constant('add' as const), key, time }) },
      { weight: 2, arbitrary: fc.record({ op: fc.constant('remove' as const), key, time }) },
      { weight: 2, arbitrary: fc.record({ op: fc.constant('expire' as const), key, time }) },
      { weight: 2, arbitrary: fc.record({ op: fc.constantFrom('commit' as const, 'rollback' as const, 'restart' as const), key, time }) },
    )
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        let store = makeStore()
        const logs: Changes[] = []
        let model: Row[] = []
        let committed: Row[] = []
        let now = Number.NEGATIVE_INFINITY
        let committedNow = now
        steps.forEach(({ op, key, time }, i) => {
          const row = model.find((row) => row.key === key && row.time === time)
          switch (op) {
            case 'add':
              add(store, key, time, `n${i}`)
              if (row === undefined) model.push({ key, time, names: [`n${i}`] })
              else row.names.push(`n${i}`)
              break
            case 'remove':
              if (row === undefined) break
              store.remove(store.entry(key, time) as never)
              model = model.filter((other) => other !== row)
              break
            case 'expire': {
              now = Math.max(now, time + LIFE)
              const due = model.filter((row) => row.time + LIFE <= now)
              expect(expired(store, now).sort()).toEqual(due.map((row) => `${row.key}@${row.time} at ${row.time + LIFE}`).sort())
              model = model.filter((row) => !due.includes(row))
              break
            }
            case 'commit':
            case 'restart':
              logs.push(changesOf(store))
              store.commit()
              committed = structuredClone(model)
              committedNow = now
              if (op === 'restart') store = reloaded(logs)
              break
            case 'rollback':
              store.rollback()
              model = structuredClone(committed)
              now = committedNow
          }
          expect(contents(store)).toEqual(model.map(({ key, time, names }) => `${key}@${time}: ${names.join(',')}`).sort())
          for (const of of ['a', 'b', 'ab']) {
            const own = model
              .filter((row) => row.key === of)
              .map((row) => row.time)
              .sort((a, b) => a - b)
            expect(times(store.range(of, 5, 25))).toEqual(own.filter((time) => time >= 5 && time <= 25))
            expect(store.last(of, 20)?.time).toBe(own.filter((time) => time <= 20).at(-1))
          }
          expect(store.streamTime).toBe(now)
        })
      }),
      { numRuns: 300 },
    )
  })
})
