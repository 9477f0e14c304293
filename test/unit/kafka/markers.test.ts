import { describe, expect, it } from 'vitest'
import type { Cluster } from '../../../src/kafka/cluster.js'
import { Unanswered } from '../../../src/kafka/errors.js'
import { Markers } from '../../../src/kafka/markers.js'
import { KafkaProducer } from '../../../src/kafka/producer.js'
import type { ProduceRequest } from '../../../src/kafka/protocol/produce.js'
import { BatchWriter, type OutputBatch } from '../../../src/log/batch/write.js'
import { VirtualClock } from '../../../src/testing/virtual-clock.js'
import { coordinatorCluster } from '../../support/coordinator-cluster.js'

/** A clock at which things are asked; `answers` are those of the coordinator, in order, the last again and again. */
function asking(...answers: (boolean | 'never')[]) {
  const clock = new VirtualClock()
  const askedAt: number[] = []
  const markers = new Markers(clock, () => {
    askedAt.push(clock.monotonic())
    const answer = answers[Math.min(askedAt.length, answers.length) - 1]
    return answer === 'never' ? new Promise(() => {}) : Promise.resolve(answer as boolean)
  })
  let wentAt: number | undefined
  const wait = (): void => void markers.wait()?.then(() => (wentAt = clock.monotonic()))
  return { clock, markers, askedAt, wait, wentAt: () => wentAt }
}

describe('markers of the last transaction', () => {
  it('are asked about until they are written, and not again for the same transaction', async () => {
    const { clock, markers, askedAt, wait, wentAt } = asking(false, false, true)
    markers.ended()
    wait()
    wait()
    await clock.advance(50)
    expect(askedAt).toEqual([0, 1, 3])
    expect(wentAt()).toBe(3)
    expect(markers.wait()).toBeUndefined()
    markers.ended()
    expect(markers.wait()).toBeDefined()
  })

  it('are not asked about where no transaction was, or where its end is long ago', async () => {
    const { clock, markers, askedAt } = asking(false)
    expect(markers.wait()).toBeUndefined()
    markers.ended()
    await clock.advance(9)
    expect(markers.wait()).toBeUndefined()
    expect(askedAt).toEqual([])
  })

  it.each([
    ['that are never written', false],
    ['of a coordinator that does not answer', 'never'],
  ] as const)('%s hold the next transaction up for 100 ms', async (_, answer) => {
    const { clock, markers, wait, wentAt } = asking(answer)
    markers.ended()
    await clock.advance(5)
    wait()
    await clock.advance(90)
    expect(wentAt()).toBeUndefined()
    await clock.advance(50)
    expect(wentAt()).toBeLessThanOrEqual(114)
  })
})

const batches = (): OutputBatch[] => {
  const writer = new BatchWriter('out', 0, 1_000)
  writer.append(null, 'value', {}, 0)
  return writer.take(true)
}

/** A producer whose coordinator answers so about its last transaction; the names of what it sent. */
function producerOn(describe: (asked: number) => string | Error, protocol: 1 | 2 = 2) {
  const names: string[] = []
  let epoch = 0
  const lane = {
    async send(_: unknown, { name }: { name: string }, body: unknown, __: number, onSent?: () => void): Promise<object> {
      onSent?.()
      names.push(name)
      if (name === 'DescribeTransactions') {
        const state = describe(names.filter((other) => other === name).length)
        if (state instanceof Error) throw state
        return { throttleMs: 0, transactions: [{ error: 0, state }] }
      }
      if (name === 'Produce') {
        const { batches } = body as ProduceRequest
        return { throttleMs: 0, results: batches.map(({ topic, partition }) => ({ topic, partition, error: 0, message: null, offset: 0 })) }
      }
      if (name === 'InitProducerId') return { throttleMs: 0, error: 0, producerId: 7n, producerEpoch: epoch }
      if (name === 'TxnOffsetCommit') return { throttleMs: 0, results: [{ topic: 't', partition: 0, error: 0 }] }
      if (name === 'AddPartitionsToTxn') return { throttleMs: 0, results: [{ topic: 'out', partition: 0, error: 0 }] }
      return { throttleMs: 0, error: 0, ...(protocol === 2 ? { next: { producerId: 7n, producerEpoch: ++epoch } } : {}) }
    },
  }
  const cluster = { ...coordinatorCluster(lane, protocol), leader: () => 1, addressOf: () => ({ host: 'h', port: 1 }) }
  const options = { transactionalId: 'x', transactionTimeoutMs: 60_000, compression: 'none' } as const
  return { producer: new KafkaProducer(cluster as unknown as Cluster, options, () => {}), names }
}

const MEMBER = { group: 'g', memberId: 'm', generation: 1, instanceId: undefined }
const OFFSETS = [{ topic: 't', partition: 0, offset: 5 }]

/** Two transactions, the second right behind the first. Returns what the second sent. */
async function second({ producer, names }: ReturnType<typeof producerOn>): Promise<string[]> {
  await producer.init()
  await producer.send(batches())
  await producer.commit(OFFSETS, MEMBER)
  const before = names.length
  const sent = producer.send(batches())
  await Promise.all([sent, producer.commit(OFFSETS, MEMBER)])
  return names.slice(before)
}

describe('a transaction right behind another', () => {
  it.each(['PrepareCommit', 'PrepareAbort'])('begins when the coordinator no longer says %s', async (state) => {
    const run = producerOn((asked) => (asked < 3 ? state : 'CompleteCommit'))
    expect(await second(run)).toEqual([...Array<string>(3).fill('DescribeTransactions'), 'Produce', 'TxnOffsetCommit', 'EndTxn'])
  })

  it('begins at once where the coordinator cannot say', async () => {
    const run = producerOn(() => new Unanswered('no answer', true))
    expect(await second(run)).toEqual(['DescribeTransactions', 'Produce', 'TxnOffsetCommit', 'EndTxn'])
  })

  it('asks nothing in the first protocol, where a broker says at once that it is not ready', async () => {
    const run = producerOn(() => 'PrepareCommit', 1)
    expect(await second(run)).not.toContain('DescribeTransactions')
  })

  it('that was given up while it waited sends nothing', async () => {
    const run = producerOn(() => 'PrepareCommit')
    const { producer, names } = run
    await producer.init()
    await producer.send(batches())
    await producer.commit(OFFSETS, MEMBER)
    const before = names.length
    const sent = producer.send(batches())
    await producer.abort()
    await expect(sent).rejects.toMatchObject({ code: 'TRANSACTION_ABORTED' })
    await producer.send(batches())
    expect(names.slice(before).filter((name) => name === 'Produce')).toHaveLength(1)
  })
})
