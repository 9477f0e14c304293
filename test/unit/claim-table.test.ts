import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { ClaimTable } from '../../src/operators/dedupe/claims/claim-table.js'
import type { Claimant } from '../../src/operators/dedupe/claims/claimant.js'

const WITHIN = 100
const clock = { now: () => 1_000_000, monotonic: () => 1_000_000, after: () => () => {} }

interface Fed extends Claimant {
  readonly id: string
}

const sources = ['a', 'b'].map((topic) => ({ topic, partition: 0 }))

interface Passed {
  readonly id: string
  readonly topic: string
  readonly offset: number
  readonly at: number
}

/** The rules, written down as plainly as they go: every record that ever passed, looked through for each new one. */
class Oracle {
  private passed: Passed[] = []
  private times: Record<string, number> = {}
  private saved = JSON.stringify({ passed: this.passed, times: this.times })

  take({ id, source: { topic }, offset, timestamp }: Fed): boolean {
    const time = (this.times[topic] = Math.max(this.times[topic] ?? 0, timestamp))
    const live = this.passed.filter((one) => one.id === id && one.at + WITHIN > (this.times[one.topic] as number))
    if (live.some((one) => Math.abs(one.at - time) < WITHIN)) return false
    this.passed.push({ id, topic, offset, at: time })
    return true
  }

  commit(): void {
    this.saved = JSON.stringify({ passed: this.passed, times: this.times })
  }

  rollback(): void {
    ;({ passed: this.passed, times: this.times } = JSON.parse(this.saved) as { passed: Passed[]; times: Record<string, number> })
  }
}

/** A compacted topic: the last value of each key, in the order they were written. */
class Changelog {
  readonly values = new Map<string, Buffer>()
  tombstones = 0

  write = (key: Uint8Array, value: Uint8Array | string | null): void => {
    const at = Buffer.from(key).toString('hex')
    this.values.delete(at)
    if (value === null) this.tombstones++
    else this.values.set(at, Buffer.from(value as string))
  }

  restore(): ClaimTable {
    const table = newTable()
    for (const [key, value] of this.values) table.load(Buffer.from(key, 'hex'), value)
    table.loaded()
    return table
  }
}

function newTable(maxIds = 1_000_000): ClaimTable {
  const table = new ClaimTable({ withinMs: WITHIN, maxIds })
  table.useClock(clock)
  return table
}

const passes = (claim: number): boolean => claim < 0

function commit(table: ClaimTable, log: Changelog): void {
  table.changes(log.write)
  table.commit()
}

const step = fc.oneof(
  {
    weight: 12,
    arbitrary: fc.record({
      do: fc.constant('record' as const),
      id: fc.constantFrom('x', 'y', 'z', 'ü', '\u{1f600}'),
      source: fc.nat(1),
      ahead: fc.integer({ min: -150, max: 60 }),
    }),
  },
  { weight: 8, arbitrary: fc.constant({ do: 'commit' as const }) },
  { weight: 2, arbitrary: fc.constant({ do: 'rollback' as const }) },
  { weight: 1, arbitrary: fc.constant({ do: 'restart' as const }) },
)

describe('the claims of a task', () => {
  it('pass the records that the plain rules pass, through commits, aborts and restarts', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 120 }), (steps) => {
        let table = newTable()
        const oracle = new Oracle()
        const log = new Changelog()
        // Of each input: the next offset and the time; the committed ones come again after an abort.
        let next = sources.map(() => ({ offset: 0, time: 1_000 }))
        let saved = structuredClone(next)
        for (const one of steps) {
          if (one.do === 'record') {
            const at = next[one.source] as { offset: number; time: number }
            at.time += Math.max(0, one.ahead)
            const record: Fed = {
              id: one.id,
              source: sources[one.source] as Fed['source'],
              offset: at.offset++,
              timestamp: at.time + Math.min(0, one.ahead),
            }
            expect(table.take(record.id, record) < 0).toBe(oracle.take(record))
            continue
          }
          if (one.do === 'commit') {
            commit(table, log)
            oracle.commit()
            saved = structuredClone(next)
            continue
          }
          if (one.do === 'rollback') table.rollback()
          else table = log.restore()
          oracle.rollback()
          next = structuredClone(saved)
        }
      }),
      { numRuns: 500 },
    )
  })

  it('lets a record pass that it has seen before, and not a copy of it in the same transaction', () => {
    const log = new Changelog()
    let table = newTable()
    const first = { source: sources[0] as Claimant['source'], offset: 7, timestamp: 1_000 }
    expect(passes(table.take('x', first))).toBe(true)
    expect(passes(table.take('x', first))).toBe(false)
    commit(table, log)
    expect(passes(table.take('x', first))).toBe(true)
    expect(passes(table.take('x', first))).toBe(false)
    commit(table, log)
    table = log.restore()
    expect(passes(table.take('x', first))).toBe(true)
    expect(table.originOf(table.take('x', { ...first, offset: 8 }))).toEqual({ topic: 'a', partition: 0, offset: 7 })
  })

  it('knows records that were not read from a log by nothing but their id', () => {
    const table = newTable()
    const made = { source: { topic: '', partition: -1 }, offset: -1, timestamp: 5_000 }
    expect(passes(table.take('x', made))).toBe(true)
    expect(passes(table.take('x', made))).toBe(false)
    commit(table, new Changelog())
    expect(passes(table.take('x', made))).toBe(false)
    expect(passes(table.take('x', { ...made, timestamp: 5_100 }))).toBe(true)
  })

  it('keeps a record in retry apart from a later one that its time does not reach', () => {
    const table = newTable()
    const [a] = sources as [Claimant['source']]
    const log = new Changelog()
    const early = { source: a, offset: 1, timestamp: 1_000 }
    table.take('x', early)
    commit(table, log)
    expect(passes(table.take('x', { source: a, offset: 2, timestamp: 1_150 }))).toBe(true)
    commit(table, log)
    expect(passes(table.take('x', early))).toBe(true)
    expect(passes(table.take('x', { source: a, offset: 3, timestamp: 1_160 }))).toBe(false)
  })

  for (const [name, odd] of Object.entries({
    'none at all': -1,
    'one of an earlier millennium': -6_795_364_578_871,
    'one far ahead': 1e15,
  })) {
    it(`a record with a time that cannot be, ${name}, ends no claims: in a backlog, over a restart, and many of them`, () => {
      const log = new Changelog()
      let now = 10_000_000
      const useClock = (to: ClaimTable): ClaimTable => {
        to.useClock({ now: () => now, monotonic: () => now, after: () => () => {} })
        return to
      }
      let table = useClock(newTable())
      const [a] = sources as [Claimant['source']]
      let offset = 0
      const take = (id: string, timestamp: number): boolean => passes(table.take(id, { source: a, offset: offset++, timestamp }))
      expect(take('x', 1_000)).toBe(true)
      for (let i = 0; i < 50; i++) take(`odd ${i}`, odd)
      expect(take('x', 1_000 + WITHIN - 1)).toBe(false)
      commit(table, log)
      table = useClock(log.restore())
      for (let i = 0; i < 50; i++) take(`again ${i}`, odd)
      expect(take('x', 1_000 + WITHIN - 1)).toBe(false)
      expect(take('odd 0', 1_000 + WITHIN - 1)).toBe(false)
      // An abort has no part in it.
      now += 10
      take('aborted', odd)
      table.rollback()
      expect(take('x', 1_000 + WITHIN - 1)).toBe(false)
      expect(take('x', 1_000 + WITHIN)).toBe(true)
    })

    it(`a partition where all records have a time that cannot be, ${name}, goes by the clock`, () => {
      const log = new Changelog()
      let now = 10_000_000
      const table = newTable()
      table.useClock({ now: () => now, monotonic: () => now, after: () => () => {} })
      const [a] = sources as [Claimant['source']]
      const seen: boolean[] = []
      for (let offset = 0; offset < 5; offset++) {
        seen.push(passes(table.take('x', { source: a, offset, timestamp: odd })))
        if (offset % 2 === 0) commit(table, log)
        now += WITHIN / 2
      }
      expect(seen).toEqual([true, false, true, false, true])
    })
  }

  it('a record that is a little ahead of the clock is as old as the clock says', () => {
    const table = newTable()
    const [a] = sources as [Claimant['source']]
    table.take('x', { source: a, offset: 1, timestamp: clock.now() - 10 })
    table.take('rogue', { source: a, offset: 2, timestamp: clock.now() + 5 })
    expect(passes(table.take('x', { source: a, offset: 3, timestamp: clock.now() }))).toBe(false)
  })

  it('answers what happened to an id, as of the last commit', () => {
    const log = new Changelog()
    let table = newTable()
    const [a] = sources as [Claimant['source']]
    const first = { source: a, offset: 3, timestamp: 1_000 }
    table.take('x', first)
    expect(table.find('x')).toBeUndefined()
    commit(table, log)
    table.take('x', { source: a, offset: 4, timestamp: 1_010 })
    table.keepResult('x', first, 'paid')
    const before = {
      id: 'x',
      state: 'passed',
      origin: { topic: 'a', partition: 0, offset: 3 },
      at: 1_000,
      until: 1_100,
      duplicates: 0,
      result: undefined,
    }
    expect(table.find('x')).toEqual(before)
    table.rollback()
    expect(table.find('x')).toEqual(before)
    table.take('x', { source: a, offset: 4, timestamp: 1_010 })
    table.keepResult('x', first, 'paid')
    commit(table, log)
    const after = { ...before, duplicates: 1, result: 'paid' }
    expect(table.find('x')).toEqual(after)
    table = log.restore()
    expect(table.find('x')).toEqual(after)
    table.take('y', { source: a, offset: 5, timestamp: 1_100 })
    commit(table, log)
    expect(table.find('x')).toBeUndefined()
  })

  it('deletes from its changelog what is over, and keeps to maxIds', () => {
    const log = new Changelog()
    const table = newTable()
    const [a] = sources as [Claimant['source']]
    for (let offset = 0; offset < 5_000; offset++) {
      table.take(`id-${offset}`, { source: a, offset, timestamp: 1_000 + offset })
      if (offset % 10 === 9) commit(table, log)
    }
    // The window's ids in chunks of ten, and the record of times.
    expect(log.values.size).toBeLessThanOrEqual(WITHIN / 10 + 2)
    expect(log.tombstones).toBeGreaterThan(450)
    expect(table.size).toBeLessThanOrEqual(WITHIN + 10)

    const small = newTable(50)
    for (let offset = 0; offset < 500; offset++) {
      small.take(`id-${offset}`, { source: a, offset, timestamp: 1_000 })
      if (offset % 10 === 9) commit(small, log)
    }
    expect(small.size).toBeLessThanOrEqual(50)
    expect(small.takeEvicted()).toBeGreaterThanOrEqual(450)
    expect(small.takeEvicted()).toBe(0)
  })

  it('an id met in every transaction is one record of the changelog, written anew', () => {
    const log = new Changelog()
    const table = newTable()
    const [a] = sources as [Claimant['source']]
    for (let offset = 0; offset < 1_000; offset++) {
      table.take('hot', { source: a, offset, timestamp: 1_000 })
      commit(table, log)
    }
    expect(log.tombstones).toBe(0)
    // And the record of times.
    expect(log.values.size).toBe(2)
    expect(log.restore().find('hot')).toMatchObject({ origin: { offset: 0 }, duplicates: 999 })
  })

  it('makes few records of many small transactions, and writes each claim a few times for it', () => {
    const log = new Changelog()
    const table = newTable()
    const [a] = sources as [Claimant['source']]
    let bytes = 0
    for (let offset = 0; offset < 4_096; offset++) {
      table.take(`id-${offset}`, { source: a, offset, timestamp: 1_000 })
      table.changes((key, value) => {
        if (key.length > 0) bytes += value?.length ?? 0
        log.write(key, value as Buffer)
      })
      table.commit()
    }
    expect(log.values.size).toBeLessThan(50)
    expect(bytes / 4_096).toBeLessThan(120)
    const restored = log.restore()
    expect(restored.size).toBe(4_096)
    for (let offset = 0; offset < 4_096; offset++) expect(restored.find(`id-${offset}`)?.origin.offset).toBe(offset)
  })

  it('under any course of duplicates, results and restarts it knows of each id what the plain rules say', () => {
    const doing = fc.oneof(
      { weight: 6, arbitrary: fc.record({ do: fc.constant('take' as const), id: fc.nat(12) }) },
      { weight: 2, arbitrary: fc.record({ do: fc.constant('result' as const), id: fc.nat(12), text: fc.string({ maxLength: 3 }) }) },
      { weight: 5, arbitrary: fc.constantFrom({ do: 'commit' as const }, { do: 'rollback' as const }, { do: 'restart' as const }) },
    )
    type Known = Record<string, { offset: number; duplicates: number; result?: string }>
    const [a] = sources as [Claimant['source']]
    fc.assert(
      fc.property(fc.array(doing, { minLength: 20, maxLength: 200 }), (course) => {
        const log = new Changelog()
        let table = newTable()
        let known: Known = {}
        let saved = structuredClone(known)
        let offset = 0
        for (const one of course) {
          if (one.do === 'take') {
            const claim = known[one.id]
            const record = { source: a, offset: offset++, timestamp: 1_000 }
            expect(table.take(String(one.id), record) < 0).toBe(claim === undefined)
            if (claim === undefined) known[one.id] = { offset: record.offset, duplicates: 0 }
            else claim.duplicates++
          } else if (one.do === 'result') {
            const claim = known[one.id]
            const kept = table.keepResult(String(one.id), { source: a, offset: claim?.offset ?? 0, timestamp: 1_000 }, one.text)
            expect(kept).toBe(claim !== undefined)
            if (claim !== undefined) claim.result = one.text
          } else if (one.do === 'commit') {
            commit(table, log)
            saved = structuredClone(known)
          } else {
            if (one.do === 'rollback') table.rollback()
            else table = log.restore()
            known = structuredClone(saved)
          }
          for (const [id, { offset: at, duplicates, result }] of Object.entries(saved))
            expect(table.find(id)).toMatchObject({ origin: { offset: at }, duplicates, ...(result === undefined ? {} : { result }) })
          expect(table.size).toBe(Object.keys(saved).length)
        }
      }),
      { numRuns: 300 },
    )
  })

  it('the claim of a record is found though others on its id were made, and ended, since', () => {
    const table = newTable()
    const [a] = sources as [Claimant['source']]
    const log = new Changelog()
    for (let offset = 0; offset < 10; offset++) passesAt(offset)
    // A copy that user code made of the third of them.
    expect(table.take('x', { source: a, offset: 2, timestamp: 1_000 + 2 * WITHIN })).toBeGreaterThanOrEqual(0)
    expect(table.keepResult('x', { source: a, offset: 3, timestamp: 0 }, 'of the fourth')).toBe(true)
    commit(table, log)
    expect(table.find('x')).toMatchObject({ origin: { offset: 9 }, result: undefined })
    expect(table.size).toBeLessThanOrEqual(2)

    function passesAt(offset: number): void {
      expect(table.take('x', { source: a, offset, timestamp: 1_000 + offset * WITHIN })).toBe(-1)
    }
  })

  it('stays within its bound over 5,000,000 ids with a small window', () => {
    const table = newTable()
    const [a] = sources as [Claimant['source']]
    let largest = 0
    let written = 0
    for (let offset = 0; offset < 5_000_000; offset++) {
      // A thousand ids a millisecond: the window holds 100,000.
      table.take(`id-${offset}`, { source: a, offset, timestamp: 1_000 + Math.floor(offset / 1_000) })
      if (offset % 20_000 !== 0) continue
      table.changes(() => written++)
      table.commit()
      largest = Math.max(largest, table.size)
    }
    expect(largest).toBeLessThanOrEqual(125_000)
    // Many ids to a record of the changelog.
    expect(written).toBeLessThan(5_000)
  }, 60_000)
})

describe('the claims of a transaction that is made while the one before goes to the log', () => {
  const take = fc.record({ id: fc.constantFrom('x', 'y', 'z'), source: fc.nat(1), ahead: fc.integer({ min: 0, max: 60 }) })
  const transaction = fc.record({
    takes: fc.array(take, { maxLength: 8 }),
    fails: fc.boolean(),
    restarts: fc.boolean(),
    result: fc.boolean(),
  })
  type Takes = readonly Fed[]
  const idsOf = (table: ClaimTable): unknown[] => ['x', 'y', 'z'].map((id) => table.find(id))

  /** Transactions one behind the other, each wholly over before the next. */
  function inTurn(transactions: readonly Takes[]): { readonly table: ClaimTable; readonly passed: readonly boolean[] } {
    const table = newTable()
    let passed: boolean[] = []
    for (const takes of transactions) {
      passed = takes.map((one) => passes(table.take(one.id, one)))
      table.changes(() => {})
      table.commit()
    }
    return { table, passed }
  }

  /** A transaction fails while the next is made, or is committed in the middle of it. */
  function check(course: readonly (typeof transaction extends fc.Arbitrary<infer T> ? T : never)[], maxIds?: number): void {
    let table = newTable(maxIds)
    const log = new Changelog()
    const committed: Takes[] = []
    let sealed: { readonly takes: Takes; readonly write: (() => void)[] } | undefined
    const next = sources.map(() => ({ offset: 0, time: 1_000 }))
    let seen = idsOf(table)
    // What is over goes with its chunk, and which chunks were made one may be otherwise after an abort.
    let undone = false
    const decide = (fails: boolean): void => {
      if (sealed === undefined) return
      if (fails) table.rollback()
      else {
        for (const write of sealed.write) write()
        table.commit()
        committed.push(sealed.takes)
      }
      sealed = undefined
    }
    for (const { takes, fails, restarts, result } of course) {
      const fed = takes.map(({ id, source, ahead }): Fed => {
        const at = next[source] as { offset: number; time: number }
        at.time += ahead
        return { id, source: sources[source] as Fed['source'], offset: at.offset++, timestamp: at.time }
      })
      const before = [...committed, ...(sealed === undefined ? [] : [sealed.takes])]
      const half = Math.ceil(fed.length / 2)
      const passed = fed.slice(0, half).map((one) => passes(table.take(one.id, one)))
      const known = maxIds === undefined ? idsOf(inTurn(committed).table) : seen
      expect(idsOf(table)).toEqual(known)
      if (fails && sealed !== undefined) {
        decide(true)
        undone = true
        expect(idsOf(table)).toEqual(known)
        continue
      }
      decide(false)
      passed.push(...fed.slice(half).map((one) => passes(table.take(one.id, one))))
      if (maxIds === undefined) expect(passed).toEqual(inTurn([...before, fed]).passed)
      const kept = result && fed[0] !== undefined ? table.keepResult(fed[0].id, fed[0], 'done') : false
      if (maxIds === undefined && !undone) expect(table.extent).toEqual(inTurn(committed).table.extent)
      seen = idsOf(table)
      // After one, another of several claims on an id may be the first to be found.
      if (restarts && maxIds !== undefined) {
        table = log.restore()
        seen = idsOf(table)
        continue
      }
      const write: (() => void)[] = []
      table.changes((key, value) => {
        const [at, bytes] = [Buffer.from(key), value === null ? null : Buffer.from(value as string)]
        write.push(() => log.write(at, bytes))
      })
      table.seal()
      // A result is no part of what the plain course knows.
      if (kept) {
        table.rollback()
        undone = true
        continue
      }
      sealed = { takes: fed, write }
    }
  }

  it('are those that they would be one behind the other', () => {
    fc.assert(
      fc.property(fc.array(transaction, { maxLength: 25 }), (course) => check(course)),
      { numRuns: 100 },
    )
  })

  it('are undone also where claims go for want of room', () => {
    fc.assert(
      fc.property(fc.array(transaction, { maxLength: 25 }), (course) => check(course, 3)),
      { numRuns: 100 },
    )
  })
})
