import { describe, expect, it } from 'vitest'
import { Refused, Unanswered, asLogError, kafkaErrorInfo, mayBeDone, refreshAfter } from '../../../src/kafka/errors.js'
import { nextSequence } from '../../../src/kafka/partition-queue.js'
import { EndTxn } from '../../../src/kafka/protocol/end-txn.js'
import { Fetch } from '../../../src/kafka/protocol/fetch.js'
import { Metadata } from '../../../src/kafka/protocol/metadata.js'
import { Produce } from '../../../src/kafka/protocol/produce.js'

describe('errors', () => {
  it('an unknown code is fatal and keeps its number', () => {
    expect(kafkaErrorInfo('Fetch', 9_999)).toMatchObject({ reaction: 'fatal', retry: undefined, name: 'error 9999' })
  })

  it('the message has what was done, what happened, what the broker says and the name to search for', () => {
    const error = asLogError(new Refused(Produce, 87, 'sending to t/1', 'no key'), 'sending')
    expect(error).toMatchObject({ code: 'RECORD_REFUSED', reaction: 'abort', retryable: false })
    expect((error as Error).message).toBe(
      'sending to t/1: the broker refuses a record: a compacted topic takes none without a key (no key) [INVALID_RECORD]',
    )
  })

  it('whatever moved is looked up before the next try', () => {
    expect(refreshAfter(new Unanswered('gone', true))).toBe('coordinator')
    expect(refreshAfter(new Refused(Produce, 6, 'x'))).toBe('metadata')
    expect(refreshAfter(new Refused(EndTxn, 16, 'x'))).toBe('coordinator')
    expect(refreshAfter(new Refused(EndTxn, 51, 'x'))).toBe('nothing')
    expect(refreshAfter(new Refused(Produce, 10, 'x'))).toBeUndefined()
    expect(refreshAfter(new TypeError('a bug'))).toBeUndefined()
  })

  it('one code, several meanings: it depends on the request', () => {
    expect(asLogError(new Refused(Metadata, 3, 'x'), 'x')).toMatchObject({ code: 'MISSING_TOPIC' })
    expect(asLogError(new Refused(Fetch, 3, 'x'), 'x')).toMatchObject({ code: 'TIMEOUT' })
    expect(asLogError(new Refused(Fetch, 2, 'x'), 'x')).toMatchObject({ reaction: 'retry' })
    expect(asLogError(new Refused(Produce, 2, 'x'), 'x')).toMatchObject({ reaction: 'abort' })
    expect(kafkaErrorInfo('TxnOffsetCommit', 16).reason).toContain('the group')
    expect(kafkaErrorInfo('EndTxn', 16).reason).toContain('the transactional id')
  })

  it('what was not answered may be done if it was sent, what was refused where the error does not tell', () => {
    expect(mayBeDone(new Unanswered('gone', true))).toBe(true)
    expect(mayBeDone(new Unanswered('not connected', false))).toBe(false)
    expect(mayBeDone(new Refused(EndTxn, 16, 'x'))).toBe(true)
    expect(mayBeDone(new Refused(EndTxn, 90, 'x'))).toBe(false)
    expect(mayBeDone(new Refused(EndTxn, 9_999, 'x'))).toBe(true)
  })
})

describe('sequence numbers', () => {
  it('wrap to 0 after 2^31 - 1', () => {
    expect(nextSequence(0, 5)).toBe(5)
    expect(nextSequence(2 ** 31 - 1, 1)).toBe(0)
    expect(nextSequence(2 ** 31 - 3, 5)).toBe(2)
  })
})
