import { finalize, mergeMap, timer, type Observable } from 'rxjs'
import { describe, expect, it } from 'vitest'
import {
  count,
  delayUntil,
  json,
  schedule,
  toTopic,
  tumbling,
  window,
  withTransaction,
  type Commit,
  type RecordStream,
} from '../../src/index.js'
import { Membership } from '../../src/runtime/group/membership.js'
import { Round } from '../../src/runtime/round.js'
import type { Fault, TestKit } from '../../src/testing/index.js'
import { START, inOutDeadKit } from '../support/in-out-dead-kit.js'

const DUE_MS = 60_000
const SESSION_MS = 45_000

/** What goes out a minute after its record was read, though nothing is read then: such a transaction moves no position. */
const BY_THE_CLOCK: Record<string, (records: RecordStream) => Observable<unknown>> = {
  delayUntil: (records) =>
    records.pipe(
      delayUntil(() => START + DUE_MS),
      toTopic({ topic: 'out' }),
    ),
  schedule: (records) => records.pipe(schedule({ at: () => START + DUE_MS }), toTopic({ topic: 'out' })),
  'a window closed when idle': (records) =>
    records.pipe(
      window(tumbling('10s'), { aggregate: count(), emit: 'final', closeWhenIdle: DUE_MS }),
      toTopic({ topic: 'out', value: json() }),
    ),
}

const member = (kit: TestKit, instanceId: string, project: (records: RecordStream) => Observable<unknown>): Observable<Commit> =>
  kit.cluster
    .source({ group: 'g', instanceId, topics: ['in'], sessionTimeout: SESSION_MS })
    .pipe(withTransaction(project, { provision: true, every: 50, stallAfter: '10m' }))

/** A member is dropped from its group, and does not hear of it before what it keeps is due; meanwhile another has restored its task. */
const outputsOf = async (project: (records: RecordStream) => Observable<unknown>): Promise<number> => {
  const kit = await inOutDeadKit()
  kit.run(member(kit, 'zombie', project))
  await kit.feed('in', { key: 'k', value: 'x' })
  await kit.advance('5s')
  kit.run(member(kit, 'heir', project))
  await kit.advance(DUE_MS - 25_000)
  kit.broker.faults.inject({ at: 'heartbeat', of: 'zombie', times: 1_000, reaction: 'retry' })
  kit.broker.expire('g', kit.broker.groups()[0]?.members.find(({ instanceId }) => instanceId === 'zombie')?.memberId)
  // Whoever takes a task over waits for it to be idle anew.
  await kit.advance(2 * DUE_MS)
  return (await kit.read('out')).length
}

describe('a member that was dropped and does not know it', () => {
  for (const [name, project] of Object.entries(BY_THE_CLOCK)) {
    it(`commits nothing of what was due: ${name}`, async () => {
      expect(await outputsOf(project)).toBe(1)
    })
  }

  it('would be noticed to commit without positions', async () => {
    const own = Object.getOwnPropertyDescriptor(Round.prototype, 'standing') as PropertyDescriptor
    Object.defineProperty(Round.prototype, 'standing', { configurable: true, value: () => [] })
    try {
      for (const project of Object.values(BY_THE_CLOCK)) expect(await outputsOf(project)).toBe(2)
    } finally {
      Object.defineProperty(Round.prototype, 'standing', own)
    }
  })
})

describe('a commit whose answer was lost', () => {
  /**
   * It did not take effect; before its member can ask, another has the task and commits the same records.
   * How many were written, and how many the members told of.
   */
  const afterTakeover = async (): Promise<[written: number, told: number]> => {
    const kit = await inOutDeadKit()
    const copy = (records: RecordStream): Observable<unknown> => records.pipe(toTopic({ topic: 'out' }))
    const { faults } = kit.broker
    faults.inject({ at: 'end', of: 'g/dropped', reaction: 'indeterminate', tookEffect: false })
    const cutOff = faults.inject({ at: 'init', of: 'g/dropped', after: 1, times: 1_000, reaction: 'retry' })
    faults.inject({ at: 'heartbeat', of: 'dropped', times: 1_000, reaction: 'retry' })
    const members = [kit.run(member(kit, 'dropped', copy))]
    await kit.feed(
      'in',
      Array.from({ length: 10 }, (_, i) => ({ value: String(i) })),
    )
    await kit.advance('1s')
    kit.broker.expire('g')
    members.push(kit.run(member(kit, 'heir', copy)))
    // The open transaction stands in the heir's way until it times out.
    await kit.advance('30s')
    cutOff.remove()
    await kit.advance('10s')
    const told = members.flatMap(({ commits }) => commits).reduce((sum, { records }) => sum + records, 0)
    return [(await kit.read('out')).length, told]
  }

  it('is not taken for that of the member who has the task since', async () => {
    expect(await afterTakeover()).toEqual([10, 10])
  })

  it('would be noticed to be', async () => {
    const own = Object.getOwnPropertyDescriptor(Membership.prototype, 'confirm') as PropertyDescriptor
    Object.defineProperty(Membership.prototype, 'confirm', { configurable: true, value: () => Promise.resolve(true) })
    try {
      expect(await afterTakeover()).toEqual([10, 20])
    } finally {
      Object.defineProperty(Membership.prototype, 'confirm', own)
    }
  })
})

describe('a member whose group coordinator is silent', () => {
  const silences: Record<string, Fault> = {
    'refuses to answer': { at: 'heartbeat', times: 1_000, reaction: 'retry' },
    'never answers': { at: 'heartbeat', times: 1_000, delayMs: 1_000_000_000 },
  }
  for (const [name, fault] of Object.entries(silences)) {
    it(`gives its tasks up when its session has passed: one that ${name}`, async () => {
      const kit = await inOutDeadKit()
      let closed = 0
      kit.run(
        member(kit, 'm', (records) =>
          records.pipe(
            mergeMap(() => timer(2 * SESSION_MS)),
            finalize(() => closed++),
          ),
        ),
      )
      closed = 0
      await kit.feed('in', { value: 'x' })
      // The slice stays open as long as heartbeats are answered.
      await kit.advance('15s')
      expect(closed).toBe(0)
      const silence = kit.broker.faults.inject(fault)
      await kit.advance(SESSION_MS - 4_000)
      expect([closed, silence.hits > 0]).toEqual([0, true])
      await kit.advance('4s')
      expect(closed).toBe(1)
      silence.remove()
      await kit.advance(4 * SESSION_MS)
      expect(kit.broker.offsets('g')).toEqual([{ topic: 'in', partition: 0, offset: 1 }])
    })
  }
})

describe('two pipelines whose groups and instances together read alike', () => {
  it('leave each other alone', async () => {
    const kit = await inOutDeadKit()
    const commits = (
      [
        ['a', 'b-c'],
        ['a-b', 'c'],
      ] as const
    ).map(
      ([group, instanceId]) =>
        kit.run(
          kit.cluster
            .source({ group, instanceId, topics: ['in'] })
            .pipe(withTransaction((records) => records.pipe(toTopic({ topic: 'out' })), { every: 50 })),
        ).commits,
    )
    for (let i = 0; i < 10; i++) {
      await kit.feed('in', { value: String(i) })
      await kit.advance(100)
    }
    // Whoever is fenced starts over after a pause.
    expect(commits.map(({ length }) => length)).toEqual([10, 10])
  })
})
