import { countOperationsOf } from '../support/operations.js'
import { mergeMap } from 'rxjs'
import { expect, it } from 'vitest'
import { toTopic, withTransaction, type RawRecord } from '../../src/index.js'
import { createTestKit } from '../../src/testing/index.js'

it('a transaction whose tasks end one after the other costs what each of them does', async () => {
  /** For each of the tasks, from when all records are in. */
  const workOfEach = async (tasks: number): Promise<number> => {
    const kit = await createTestKit({ topics: { in: { partitions: tasks }, out: { partitions: tasks } } })
    const answers: (() => void)[] = []
    const called = mergeMap((record: RawRecord) => new Promise<RawRecord>((resolve) => answers.push(() => resolve(record))))
    const member = kit.run(
      kit.cluster
        .source({ group: 'g', topics: ['in'] })
        .pipe(withTransaction((records) => records.pipe(called, toTopic({ topic: 'out' })), { every: 10 })),
    )
    await kit.feed(
      'in',
      Array.from({ length: tasks }, (_, partition) => ({ value: 'v', partition })),
    )
    await kit.advance('1s')
    expect(answers).toHaveLength(tasks)
    const last = answers.pop() as () => void
    const operations = await countOperationsOf(async () => {
      for (const answer of answers) {
        answer()
        // So that the round has its turn between any two.
        await kit.advance(0)
      }
    })
    last()
    await kit.advance('1s')
    expect(member.commits.reduce((sum, { records }) => sum + records, 0)).toBe(tasks)
    await kit.stop()
    return operations / tasks
  }
  const few = await workOfEach(50)
  const many = await workOfEach(400)
  expect(many).toBeLessThan(1.2 * few)
})
