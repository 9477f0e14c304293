import { countOperations } from '../../support/operations.js'
import { describe, expect, it } from 'vitest'
import { newlyQueued, SendCall } from '../../../src/kafka/partition-queue.js'
import { PartitionQueues } from '../../../src/kafka/partition-queues.js'
import type { OutputBatch } from '../../../src/log/batch/write.js'

describe('the queues of a sender', () => {
  const call = new SendCall(
    10_000,
    () => {},
    () => {},
  )
  const write = (queues: PartitionQueues, partition: number): void => {
    const queue = queues.of('t', partition)
    queue.push(newlyQueued({ count: 1 } as OutputBatch, call, false))
    queues.added(queue)
    queue.depart({})
    queues.acknowledged(queue)
  }

  it('end a transaction, or a producer epoch, at the cost of what was written in it, however many were ever written to', () => {
    const workBeside = (others: number): number => {
      const queues = new PartitionQueues()
      for (let partition = 0; partition < others; partition++) write(queues, partition)
      queues.reopen()
      queues.restart()
      return countOperations(() => {
        for (let i = 0; i < 5; i++) {
          write(queues, 0)
          queues.reopen()
          queues.restart()
        }
      })
    }
    expect(workBeside(2_000)).toBe(workBeside(1))
  })

  it('begin every transaction with none that has a partition, and every epoch with all at sequence 0', () => {
    const queues = new PartitionQueues()
    for (const partition of [0, 1, 0]) write(queues, partition)
    const state = (): unknown =>
      [0, 1].map((partition) => queues.of('t', partition)).map(({ sequence, added, begun }) => [sequence, added, begun])
    expect(state()).toEqual([
      [2, true, true],
      [1, true, true],
    ])
    queues.reopen()
    write(queues, 1)
    expect(state()).toEqual([
      [2, false, false],
      [2, true, true],
    ])
    queues.reopen()
    queues.restart()
    expect(state()).toEqual([
      [0, false, false],
      [0, false, false],
    ])
  })
})
