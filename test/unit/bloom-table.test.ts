import { describe, expect, it } from 'vitest'
import { BloomTable } from '../../src/operators/dedupe/claims/bloom-table.js'
import { TextList } from '../../src/operators/dedupe/claims/msgpack.js'

const MINUTE = 60_000

/** A compacted topic. */
class Changelog {
  readonly values = new Map<string, Buffer>()
  readonly all: [Buffer, Buffer | null][] = []

  write = (key: Uint8Array, value: Uint8Array | string | null): void => {
    const name = Buffer.from(key).toString('hex')
    const bytes = value === null ? null : Buffer.from(value as string)
    this.values.delete(name)
    if (bytes !== null) this.values.set(name, bytes)
    this.all.push([Buffer.from(key), bytes])
  }
}

const newTable = (expected = 1_000, errorRate = 0.01): BloomTable => new BloomTable({ withinMs: MINUTE, expected, errorRate })
const known = (table: BloomTable, ids: readonly string[]): number => ids.filter((id) => table.has(id)).length
const ids = (from: number, to: number): string[] => Array.from({ length: to - from }, (_, i) => `id-${from + i}`)
const commit = (table: BloomTable, log: Changelog): void => {
  table.changes(log.write)
  table.commit()
}

describe('the filters of a task', () => {
  it('know what was added, and little else; more than expected costs filters, not certainty', () => {
    for (const expected of [10_000, 1_000]) {
      const table = newTable(expected)
      table.turnTo(1)
      for (const id of ids(0, 10_000)) table.add(id)
      expect(known(table, ids(0, 10_000))).toBe(10_000)
      expect(table.overfull).toBe(expected < 10_000)
      // One in a hundred for each filter.
      expect(known(table, ids(10_000, 20_000))).toBeLessThan(10_000 * 0.012 * (10_000 / expected))
    }
  })

  it('turn with time: what was added is known for one more section, and then not', () => {
    const table = newTable()
    const log = new Changelog()
    expect(table.turnTo(7)).toBe(5)
    for (const id of ids(0, 100)) table.add(id)
    commit(table, log)
    expect(table.turnTo(7)).toBeUndefined()
    expect(table.turnTo(8)).toBe(6)
    expect(known(table, ids(0, 100))).toBe(100)
    expect(table.numbers).toEqual([8, 7])
    table.turnTo(9)
    expect(known(table, ids(0, 100))).toBe(0)
    commit(table, log)
    // What was on the changelog is deleted: the offsets stay.
    expect(log.values.size).toBe(1)
  })

  it('are restored from the changelog, with what had been seen, and without what did not commit', () => {
    const table = newTable(20_000)
    const log = new Changelog()
    table.turnTo(3)
    for (const id of ids(0, 15_000)) table.add(id)
    table.advance('a', 41)
    commit(table, log)
    for (const id of ids(15_000, 15_100)) table.add(id)
    table.advance('a', 50)
    table.rollback()
    const past = (one: BloomTable, by: 'isPast' | 'wasPast'): boolean[] =>
      [41, 42].map((offset) => one[by]({ topic: 'a', partition: 0, offset }))
    expect([past(table, 'isPast'), past(table, 'wasPast')]).toEqual([
      [true, false],
      [false, false],
    ])
    const restored = newTable(20_000)
    for (const [key, value] of log.values) restored.load(Buffer.from(key, 'hex'), value)
    restored.loaded()
    restored.turnTo(4)
    expect(known(restored, ids(0, 15_000))).toBe(15_000)
    expect(known(restored, ids(15_000, 15_100))).toBeLessThan(10)
    restored.advance('a', 42)
    commit(restored, log)
    expect([past(restored, 'isPast'), past(restored, 'wasPast')]).toEqual([
      [true, true],
      [true, false],
    ])
  })

  it('of a warm copy that follows for long take no more than those in use', () => {
    const table = newTable()
    const log = new Changelog()
    const copy = newTable()
    for (let section = 1; section < 50; section++) {
      table.turnTo(section)
      for (const id of ids(section * 100, section * 100 + 100)) table.add(id)
      commit(table, log)
    }
    for (const [key, value] of log.all) copy.load(key, value)
    copy.loaded()
    expect(copy.numbers).toEqual([49, 48])
    const after = new Changelog()
    copy.turnTo(50)
    commit(copy, after)
    // What the owner has deleted already is not deleted again, but for the section that is over only now.
    expect(after.all.filter(([, value]) => value === null)).toHaveLength(1)
  })
})

describe('texts for a script', () => {
  /** MessagePack, as far as it is written here. */
  function read(bytes: Buffer): string[] {
    expect(bytes[0]).toBe(0xdd)
    const texts: string[] = []
    let pos = 5
    while (pos < bytes.length) {
      const long = bytes[pos] === 0xdb
      const length = long ? bytes.readUInt32BE(pos + 1) : bytes.readUInt16BE(pos + 1)
      pos += long ? 5 : 3
      texts.push(bytes.toString('utf8', pos, pos + length))
      pos += length
    }
    expect(texts).toHaveLength(bytes.readUInt32BE(1))
    return texts
  }

  it('come out as they went in, short and long', () => {
    const given = ['', 'a', 'ü\u{1f600}', 'x'.repeat(65_535), 'y'.repeat(65_536), 'ü'.repeat(40_000), 'end']
    const list = new TextList()
    expect(list.isEmpty).toBe(true)
    for (const text of given) list.add(text)
    expect(list.isEmpty).toBe(false)
    expect(read(list.bytes())).toEqual(given)
  })
})
