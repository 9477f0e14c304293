import { describe, expect, it } from 'vitest'
import { bytes, json, type Serde } from '../../../src/index.js'
import { difference, readBack } from '../../../src/state/read-back.js'

class Point {
  constructor(readonly x: number) {}
}

const there = (value: unknown): unknown => JSON.parse(JSON.stringify(value))

describe('what is not the same when it is read again', () => {
  const day = new Date(0)
  const lost: readonly (readonly [value: unknown, told: string])[] = [
    [{ at: day }, 'it.at was a Date and is "1970-01-01T00:00:00.000Z"'],
    [{ at: { deep: [1, day] } }, 'it.at.deep[1] was a Date'],
    [day, 'it was a Date'],
    [new Set(['a']), 'it was a Set and is an Object'],
    [{ seen: new Map([['a', 1]]) }, 'it.seen was a Map and is an Object'],
    [{ min: Number.POSITIVE_INFINITY }, 'it.min was Infinity and is null'],
    [{ mean: Number.NaN }, 'it.mean was NaN and is null'],
    [[1, undefined], 'it[1] was undefined and is null'],
    [{ of: new Point(1) }, 'it.of was a Point and is an Object'],
    [{ then: () => 1 }, 'it.then was a function and is undefined'],
    [{ raw: Buffer.from('a') }, 'it.raw was a Buffer and is an Object'],
  ]
  for (const [value, told] of lost) it(told, () => expect(difference(value, there(value))).toContain(told))

  it('what JSON holds is the same, a property that is undefined left out or not', () => {
    const value = { a: [1, 'x', null, true, { b: -0, c: 1e300 }], d: undefined, e: {} }
    expect(difference(value, there(value))).toBeUndefined()
    expect(difference(there(value), value)).toBeUndefined()
    expect(difference(Object.assign(Object.create(null) as object, { a: 1 }), { a: 1 })).toBeUndefined()
  })

  it('looks into dates, maps, sets and bytes that are read as such', () => {
    expect(difference(new Date(1), new Date(1))).toBeUndefined()
    expect(difference(new Date(1), new Date(2))).toContain('getTime()')
    expect(difference(new Map([['a', new Date(1)]]), new Map([['a', new Date(1)]]))).toBeUndefined()
    expect(difference(new Map([['a', 1]]), new Map([['a', 2]]))).toBe('it[0][1] was 1 and is 2')
    expect(difference(new Set([1, 2]), new Set([1]))).toBe('it.size was 2 and is 1')
    expect(difference(Uint8Array.of(1), Buffer.from([1]))).toBeUndefined()
    expect(difference(Uint8Array.of(1), Buffer.from([2]))).toBe('it has other bytes')
    expect(difference([1, 2], [1])).toBe('it.length was 2 and is 1')
  })

  it('comes to an end where an object holds itself', () => {
    const ring: { self?: unknown } = {}
    ring.self = ring
    const other: { self?: unknown } = {}
    other.self = other
    expect(difference(ring, other)).toBeUndefined()
  })
})

describe('a serde that looks at what it writes', () => {
  it('reads the first value back, then fewer and fewer', () => {
    let read = 0
    const counting: Serde<unknown> = { ...json(), decode: (given) => (read++, json().decode(given)) }
    const checked = readBack(counting, 'x', 'y')
    const at: number[] = []
    for (let i = 1; i <= 1_000; i++) {
      const before = read
      checked.encode({ i })
      if (read > before) at.push(i)
    }
    expect(at).toEqual([1, 2, 4, 8, 16, 32, 64, 128, 256, 512])
  })

  it('names what is lost, and what to do', () => {
    const checked = readBack(json(), "store 'carts': a value put", 'give the store a serde')
    expect(() => checked.encode({ at: new Date(0) })).toThrow(
      expect.objectContaining({
        code: 'LOSSY_SERDE',
        message: `store 'carts': a value put is not what it was when it has been stored as json and is read again: it.at was a Date and is "1970-01-01T00:00:00.000Z". After the next restart or abort the program would go on with that: give the store a serde`,
      }),
    )
  })

  it('and what cannot be read at all', () => {
    const cut: Serde<string> = { name: 'cut', encode: (value) => value.slice(1), decode: (given) => JSON.parse(given.toString()) as string }
    expect(() => readBack(cut, 'it', 'do').encode('{}')).toThrow(expect.objectContaining({ code: 'LOSSY_SERDE' }))
  })

  it('null is for others to judge', () => {
    expect(readBack(bytes(), 'x', 'y').encode(null)).toBeNull()
  })
})
