import { tap } from 'rxjs'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { toTopic, withTransaction, type Cluster } from '../../src/index.js'
import { createTestKit, type TestKit } from '../../src/testing/index.js'

const topics = { in: { partitions: 2 }, out: { partitions: 2 } }
let kit: TestKit<typeof topics>

beforeEach(async () => {
  kit = await createTestKit({ topics })
})
afterEach(() => kit.stop())

const copy = (cluster: Cluster) =>
  cluster.source({ group: 'copy', topics: ['in'] }).pipe(
    withTransaction((records) =>
      records.pipe(
        tap((record) => {
          if (String(record.value) === 'poison') throw new Error('cannot copy this')
        }),
        toTopic({ topic: 'out' }),
      ),
    ),
  )

it('stops at a record that cannot be processed', async () => {
  kit.run(copy(kit.cluster))
  await kit.feed('in', [
    { value: 'good', partition: 0 },
    { value: 'poison', partition: 0 },
    { value: 'never', partition: 0 },
  ])
  await expect(kit.advance('10s')).rejects.toMatchObject({ code: 'RECORD_FAILED', origin: { topic: 'in', partition: 0, offset: 1 } })
  expect((await kit.read('out')).map(({ value }) => value)).toEqual(['good'])
})

it('writes once though the process dies between its outputs and its commit', async () => {
  const first = kit.run(copy(kit.cluster))
  await kit.feed('in', { value: 'a' })
  kit.broker.faults.inject({ at: 'offsets', of: 'copy', delayMs: 60_000 }) // the broker takes the outputs, and is slow to take the offsets
  await kit.advance('100ms')
  await first.crash()
  expect(await kit.broker.records('out', 'read_uncommitted')).toHaveLength(1)
  expect(await kit.read('out')).toEqual([])

  kit.run(copy(kit.cluster))
  await kit.advance('2m') // the session and the transaction of the dead process run out
  expect((await kit.read('out')).map(({ value }) => value)).toEqual(['a'])
})

it('goes on when a second member joins and the first leaves', async () => {
  const first = kit.run(copy(kit.cluster))
  const second = kit.run(copy(kit.cluster))
  await kit.advance('10s')
  await kit.feed('in', [
    { value: 'a', partition: 0 },
    { value: 'b', partition: 1 },
  ])
  await kit.advance('1s')
  expect([first, second].map(({ commits }) => commits.at(-1)?.records)).toEqual([1, 1])

  await first.stop()
  await kit.feed('in', [
    { value: 'c', partition: 0 },
    { value: 'd', partition: 1 },
  ])
  await kit.advance('10s')
  expect((await kit.read('out')).map(({ value }) => value).sort()).toEqual(['a', 'b', 'c', 'd'])
})
