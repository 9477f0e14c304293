import { describe, expect, it } from 'vitest'
import type { Observable } from 'rxjs'
import { aggregate, count, json, toTopic, withTransaction, type Commit, type RecordStream } from '../../src/index.js'
import { Producers } from '../../src/runtime/producers.js'
import { transactionalIdOfSeat } from '../../src/runtime/transactional-id.js'
import type { RunningPipeline, TestKit } from '../../src/testing/index.js'
import { inOutDeadKit } from '../support/in-out-dead-kit.js'

const SESSION_MS = 10_000
/** Much longer than the session: whoever waits for it is seen. */
const TRANSACTION_MS = 600_000
const WITHIN_MS = SESSION_MS + 2_000

const PIPELINES: Record<string, (records: RecordStream) => Observable<unknown>> = {
  // The offsets that are about to move stand in the way.
  'without state': (records) => records.pipe(toTopic({ topic: 'out' })),
  // So does the last stable offset of the changelog.
  'with state': (records) => records.pipe(aggregate(count(), { emit: 'each' }), toTopic({ topic: 'out', value: json() })),
}

const member = (kit: TestKit, project: (records: RecordStream) => Observable<unknown>): RunningPipeline =>
  kit.run(
    kit.cluster
      .source({ group: 'g', topics: ['in'], sessionTimeout: SESSION_MS })
      .pipe(withTransaction(project, { provision: true, every: 50, transactionTimeout: TRANSACTION_MS })) as Observable<Commit>,
  )

const feed = (kit: TestKit): Promise<unknown> =>
  kit.feed(
    'in',
    [0, 1].map((partition) => ({ key: `k${partition}`, value: 'x', partition })),
  )

/** Members crash, each in the middle of its commit, and others come in their place or stay; how many records were committed in time. */
const committedAfter = async (
  project: (records: RecordStream) => Observable<unknown>,
  { members, crash, come }: { readonly members: number; readonly crash: number; readonly come: number },
): Promise<number> => {
  const kit = await inOutDeadKit(2)
  const running: RunningPipeline[] = []
  for (let i = 0; i < members; i++) {
    running.push(member(kit, project))
    await kit.advance('10s')
  }
  await feed(kit)
  await kit.advance('5s')
  const before = (await kit.read('out', { from: 'earliest' })).length
  expect(before).toBe(2)
  // Who came first has the first seat.
  for (let seat = 0; seat < crash; seat++) {
    const of = members === crash ? {} : { of: transactionalIdOfSeat('g', seat) }
    kit.broker.faults.inject({ at: 'end', ...of, delayMs: 10 * TRANSACTION_MS })
  }
  await feed(kit)
  await kit.advance('1s')
  expect(kit.broker.openTransactions()).toHaveLength(crash)
  for (const one of running.slice(0, crash)) await one.crash()
  for (let i = 0; i < come; i++) member(kit, project)
  await kit.advance(WITHIN_MS)
  return (await kit.read('out', { from: 'earliest' })).length - before
}

describe('what members left open that died in the middle of a commit', () => {
  for (const [name, project] of Object.entries(PIPELINES)) {
    it(`does not keep the one that comes in the place of the only one: ${name}`, async () => {
      expect(await committedAfter(project, { members: 1, crash: 1, come: 1 })).toBe(2)
    })

    it(`does not keep those that come in the place of all: ${name}`, async () => {
      expect(await committedAfter(project, { members: 2, crash: 2, come: 2 })).toBe(2)
    })

    it(`does not keep the one that stays, nor one that comes: ${name}`, async () => {
      for (const come of [0, 1]) expect(await committedAfter(project, { members: 2, crash: 1, come })).toBe(2)
    })
  }

  it('would be noticed to keep them, if each process had an id of its own', async () => {
    const { take } = Producers.prototype
    Producers.prototype.take = function (this: Producers) {
      return take.call(this, undefined)
    }
    try {
      for (const project of Object.values(PIPELINES)) expect(await committedAfter(project, { members: 1, crash: 1, come: 1 })).toBe(0)
    } finally {
      Producers.prototype.take = take
    }
  })
})
