import { afterEach, describe, expect, it, vi } from 'vitest'
import { toTopic, withTransaction } from '../../src/index.js'
import { BatchWriter } from '../../src/log/batch/write.js'
import { Task } from '../../src/runtime/task.js'
import { TaskInputs } from '../../src/runtime/task-inputs.js'
import { createTestKit } from '../../src/testing/index.js'

const WORK = ['endIntake', 'moved', 'tally', 'beginCommit', 'commit', 'lag'] as const

describe('a commit of one record', () => {
  afterEach(() => vi.restoreAllMocks())

  /** How often the tasks, and the writers of the output, are asked to do something for it. */
  const workOfCommit = async (partitions: number): Promise<Record<string, number>> => {
    const kit = await createTestKit({ topics: { in: { partitions }, out: { partitions } } })
    const member = kit.run(
      kit.cluster.source({ group: 'g', topics: ['in'] }).pipe(withTransaction((records) => records.pipe(toTopic({ topic: 'out' })))),
    )
    // All tasks have committed something, and all writers have been used; the lag of all was looked at just now.
    await kit.feed(
      'in',
      Array.from({ length: partitions }, (_, partition) => ({ value: 'v', partition })),
    )
    await kit.advance('10s')
    await kit.feed('in', { value: 'v', partition: 1 })
    await kit.advance('100ms')
    const spies = [...WORK.map((name) => vi.spyOn(Task.prototype, name)), vi.spyOn(BatchWriter.prototype, 'take')]
    const { length } = member.commits
    await kit.feed('in', { value: 'v', partition: 0 })
    await kit.advance('100ms')
    expect(member.commits).toHaveLength(length + 1)
    expect(member.commits.at(-1)).toMatchObject({ records: 1, outputs: 1, lag: 0 })
    const counts = Object.fromEntries([...WORK, 'take'].map((name, i) => [name, spies[i]?.mock.calls.length ?? 0]))
    await kit.stop()
    vi.restoreAllMocks()
    return counts
  }

  it('and what is read of it cost the same whether its member has 4 tasks or 400, and nothing at all where there is none', async () => {
    const looksOf = async (partitions: number): Promise<readonly number[]> => {
      const kit = await createTestKit({ topics: { in: { partitions }, out: { partitions: 1 } } })
      const member = kit.run(
        kit.cluster.source({ group: 'g', topics: ['in'] }).pipe(withTransaction((records) => records.pipe(toTopic({ topic: 'out' })))),
      )
      await kit.advance('1s')
      const looks = [
        ...(['advance', 'nextDue'] as const).map((name) => vi.spyOn(Task.prototype, name)),
        vi.spyOn(TaskInputs.prototype, 'updateViews'),
      ]
      const looked = (): number => looks.reduce((sum, { mock }) => sum + mock.calls.length, 0)
      await kit.advance('2s')
      const idle = looked()
      for (let i = 0; i < 3; i++) {
        await kit.feed('in', { value: 'v', partition: 3 })
        await kit.advance('200ms')
      }
      expect(member.commits.reduce((sum, { records }) => sum + records, 0)).toBe(3)
      const busy = looked() - idle
      await kit.stop()
      vi.restoreAllMocks()
      return [idle, busy]
    }
    const few = await looksOf(4)
    expect(few[0]).toBe(0)
    expect(await looksOf(400)).toEqual(few)
  })

  it('costs the same whether its member has 4 tasks or 64', async () => {
    const few = await workOfCommit(4)
    expect(few).toMatchObject({ beginCommit: 1, commit: 1 })
    expect(await workOfCommit(64)).toEqual(few)
  })
})
