import { describe, expect, it } from 'vitest'
import { Refused, Unanswered, asLogError, kafkaErrorInfo, refreshAfter } from '../../../src/kafka/errors.js'
import { nextSequence } from '../../../src/kafka/partition-queue.js'

describe('errors', () => {
  it('an unknown code is fatal and keeps its number', () => {
    expect(kafkaErrorInfo(9_999)).toMatchObject({ reaction: 'fatal', retry: undefined, name: 'error 9999' })
  })

  it('the message has what was done, what happened, what the broker says and the name to search for', () => {
    const error = asLogError(new Refused(87, 'sending to t/1', 'no key'), 'sending')
    expect(error).toMatchObject({ code: 'BROKER_REFUSED', reaction: 'abort', retryable: false })
    expect((error as Error).message).toBe(
      'sending to t/1: the broker refuses a record: a compacted topic takes none without a key (no key) [INVALID_RECORD]',
    )
  })

  it('whatever moved is looked up before the next try', () => {
    expect(refreshAfter(new Unanswered('gone', true))).toBe('coordinator')
    expect(refreshAfter(new Refused(6, 'x'))).toBe('metadata')
    expect(refreshAfter(new Refused(16, 'x'))).toBe('coordinator')
    expect(refreshAfter(new Refused(51, 'x'))).toBe('nothing')
    expect(refreshAfter(new Refused(10, 'x'))).toBeUndefined()
    expect(refreshAfter(new TypeError('a bug'))).toBeUndefined()
  })
})

describe('sequence numbers', () => {
  it('wrap to 0 after 2^31 - 1', () => {
    expect(nextSequence(0, 5)).toBe(5)
    expect(nextSequence(2 ** 31 - 1, 1)).toBe(0)
    expect(nextSequence(2 ** 31 - 3, 5)).toBe(2)
  })
})
