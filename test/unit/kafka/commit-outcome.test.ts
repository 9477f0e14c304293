import { describe, expect, it } from 'vitest'
import { Unanswered } from '../../../src/kafka/errors.js'
import type { Cluster } from '../../../src/kafka/cluster.js'
import { KafkaProducer } from '../../../src/kafka/producer.js'
import { retrying, type RetryOptions } from '../../../src/kafka/retry.js'
import type { LogProducer } from '../../../src/log/port.js'
import { silentLogger } from '../../../src/record/logger.js'
import { coordinatorCluster } from '../../support/coordinator-cluster.js'

interface Asked {
  readonly name: string
  readonly commit?: boolean
  readonly producerEpoch?: number
}

/** What a broker answers to one request: an error code, or nothing at all. */
type Answer = number | 'none'

/** A producer before a broker that is made of its answers; everything but what `answer` says is well. */
function producerOn(
  answer: (asked: Asked, tries: number) => Answer | undefined,
  protocol: 1 | 2 = 2,
): { producer: LogProducer; asked: Asked[] } {
  const asked: Asked[] = []
  let epoch = -1
  const lane = {
    async send(_: unknown, api: { name: string }, body: { commit?: boolean; producerEpoch?: number }, __: number, onSent?: () => void) {
      onSent?.()
      const { commit, producerEpoch } = body
      const request = {
        name: api.name,
        ...(commit === undefined ? {} : { commit }),
        ...(producerEpoch === undefined ? {} : { producerEpoch }),
      }
      asked.push(request)
      const error = answer(request, asked.filter(({ name }) => name === api.name).length) ?? 0
      if (error === 'none') throw new Unanswered('no answer', true)
      if (api.name === 'InitProducerId') return { throttleMs: 0, error, producerId: 7n, producerEpoch: error === 0 ? ++epoch : -1 }
      if (api.name === 'TxnOffsetCommit') return { throttleMs: 0, results: [{ topic: 't', partition: 0, error }] }
      return { throttleMs: 0, error, ...(protocol === 2 ? { next: { producerId: 7n, producerEpoch: ++epoch } } : {}) }
    },
  }
  const cluster = {
    ...coordinatorCluster(lane, protocol),
    requestTimeoutMs: 30,
    retry: ({ what, until = Date.now() + 30, signal }: RetryOptions, attempt: () => Promise<unknown>) =>
      retrying({ what, until, signal, logger: silentLogger, refresh: () => {} }, attempt),
  }
  const options = { transactionalId: 'x', transactionTimeoutMs: 1_500, compression: 'none' } as const
  return { producer: new KafkaProducer(cluster as unknown as Cluster, options, () => {}), asked }
}

const MEMBER = { group: 'g', memberId: 'm', generation: 1, instanceId: undefined }
const OFFSETS = [{ topic: 't', partition: 0, offset: 5 }]
const ofCommit = (error: Answer) => (asked: Asked, tries: number) => (asked.commit === true ? (tries === 1 ? error : 14) : undefined)

describe('a commit that was sent and answered with an error', () => {
  it.each([-1, 7, 13, 14, 15, 16, 51, 52, 9_999])(
    '%i: it may have been carried out, so it is indeterminate and never aborted',
    async (code) => {
      const { producer, asked } = producerOn(ofCommit(code))
      await producer.init()
      await expect(producer.commit(OFFSETS, MEMBER)).rejects.toMatchObject({ code: 'COMMIT_INDETERMINATE', reaction: 'indeterminate' })
      await expect(producer.abort()).rejects.toMatchObject({ code: 'COMMIT_INDETERMINATE', reaction: 'fatal' })
      expect(asked.filter(({ commit }) => commit === false)).toEqual([])
      await producer.init()
      await producer.abort()
    },
  )

  it.each([
    [47, 'reinit'],
    [48, 'reinit'],
    [49, 'reinit'],
    [90, 'reinit'],
    [53, 'fatal'],
    [120, 'abort'],
  ] as const)('%i, the first and only answer: certain not to have been carried out', async (code, reaction) => {
    const { producer } = producerOn(({ commit }) => (commit === true ? code : undefined))
    await producer.init()
    await expect(producer.commit(OFFSETS, MEMBER)).rejects.toMatchObject({ reaction })
  })

  it('a proof that comes after a doubt proves nothing of the try before', async () => {
    for (const doubt of ['none', 16] as const) {
      const { producer } = producerOn(({ commit }, tries) => (commit === true ? (tries === 1 ? doubt : 90) : undefined))
      await producer.init()
      await expect(producer.commit(OFFSETS, MEMBER)).rejects.toMatchObject({ reaction: 'indeterminate' })
    }
  })

  it('a commit that was never sent, for want of a coordinator, is aborted', async () => {
    const { producer, asked } = producerOn(({ name }) => (name === 'TxnOffsetCommit' ? 15 : undefined))
    await producer.init()
    await expect(producer.commit(OFFSETS, MEMBER)).rejects.toMatchObject({ code: 'TIMEOUT', reaction: 'abort' })
    await producer.abort()
    expect(asked.at(-1)).toMatchObject({ name: 'EndTxn', commit: false })
  })

  it('offsets of a member that another process replaced lose the transaction, and do not end the member here', async () => {
    const { producer } = producerOn(({ name }) => (name === 'TxnOffsetCommit' ? 82 : undefined))
    await producer.init()
    await expect(producer.commit(OFFSETS, MEMBER)).rejects.toMatchObject({ code: 'INSTANCE_FENCED', reaction: 'lost' })
  })
})

describe('the first protocol: what was not answered may arrive in the next transaction', () => {
  const names = (asked: readonly Asked[]): string[] => asked.map(({ name, producerEpoch }) => `${name} ${producerEpoch}`)

  it.each(['EndTxn', 'TxnOffsetCommit', 'AddOffsetsToTxn'])('%s sent twice: the next transaction has another epoch', async (kind) => {
    const { producer, asked } = producerOn(({ name }, tries) => (name === kind && tries === 1 ? 'none' : undefined), 1)
    await producer.init()
    await producer.commit(OFFSETS, MEMBER)
    expect(names(asked).at(-1)).toBe('InitProducerId 0')
    const before = asked.length
    await producer.commit(OFFSETS, MEMBER)
    expect(names(asked.slice(before))).toEqual(['AddOffsetsToTxn 1', 'TxnOffsetCommit 1', 'EndTxn 1'])
  })

  it('an abort sent twice too', async () => {
    const { producer, asked } = producerOn(({ name, commit }, tries) => {
      if (name === 'TxnOffsetCommit') return tries === 1 ? 22 : undefined
      return commit === false && tries === 1 ? 'none' : undefined
    }, 1)
    await producer.init()
    await expect(producer.commit(OFFSETS, MEMBER)).rejects.toMatchObject({ reaction: 'lost' })
    await producer.abort()
    expect(names(asked).at(-1)).toBe('InitProducerId 0')
    await producer.commit(OFFSETS, MEMBER)
    expect(names(asked).at(-1)).toBe('EndTxn 1')
  })

  it('all answered: the epoch stays; refused and tried again, nothing is on its way', async () => {
    const { producer, asked } = producerOn(({ name }, tries) => (name === 'EndTxn' && tries === 1 ? 51 : undefined), 1)
    await producer.init()
    await producer.commit(OFFSETS, MEMBER)
    await producer.commit(OFFSETS, MEMBER)
    expect(names(asked).filter((name) => name.startsWith('Init'))).toEqual(['InitProducerId -1'])
    expect(names(asked).at(-1)).toBe('EndTxn 0')
  })

  it('the commit holds where the next epoch cannot be had; the next transaction wants init()', async () => {
    const { producer } = producerOn(({ name, producerEpoch }, tries) => {
      if (name === 'InitProducerId' && producerEpoch === 0) return 90
      return name === 'EndTxn' && tries === 1 ? 'none' : undefined
    }, 1)
    await producer.init()
    await producer.commit(OFFSETS, MEMBER)
    await expect(producer.commit(OFFSETS, MEMBER)).rejects.toMatchObject({ code: 'PRODUCER_FENCED', reaction: 'reinit' })
    await producer.init()
    await producer.commit(OFFSETS, MEMBER)
  })
})
