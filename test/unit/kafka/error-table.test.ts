import { describe, expect, it } from 'vitest'
import { ERROR_CODES } from '../../../src/kafka/error-codes.js'
import { ERRORS_BY_API, type ErrorRow } from '../../../src/kafka/error-table.js'
import type { ApiName } from '../../../src/kafka/protocol/api.js'

const APIS = Object.keys(ERRORS_BY_API) as ApiName[]
const ALL = APIS.flatMap((api) => ERRORS_BY_API[api].rows.map((row) => [api, row[0], row] as const))

/** What changes nothing at a broker. */
const LOOKS: readonly ApiName[] = [
  'ApiVersions',
  'Metadata',
  'FindCoordinator',
  'Fetch',
  'ListOffsets',
  'DescribeConfigs',
  'DescribeTransactions',
]
/** What a transaction consists of: what keeps failing there ends the transaction, and does not wait. */
const STEPS: readonly ApiName[] = ['Produce', 'AddPartitionsToTxn', 'AddOffsetsToTxn', 'TxnOffsetCommit', 'OffsetCommit']

/**
 * Where this client tries again and Kafka's Java client does not, or the other way round. Else they agree: what extends RetriableException
 * there is tried again, whatever the request.
 */
const DEVIATIONS: Readonly<Record<string, string>> = {
  '-1': 'the broker failed: Java ends the producer or consumer, here the request has its time',
  '27 JoinGroup': 'not of that class in Java, but its coordinator joins again as well',
  '52': 'not of that class in Java, though what it tells is that the coordinator has moved',
  '109 Fetch': 'not of that class in Java, which reads on from the local log',
  '3 DeleteTopics': 'what is to be deleted is gone',
  '3 DescribeConfigs': 'a topic without a configuration is left out',
}

describe('the table of errors', () => {
  it('holds every request once, and each of its codes once', () => {
    for (const api of APIS) {
      const codes = ERRORS_BY_API[api].rows.map(([code]) => code)
      expect([api, codes.length]).toEqual([api, new Set(codes).size])
    }
  })

  it.each(ALL)('%s, %i: says what to do, once and consistently', (api, code, [, retry, as, reaction, done]: ErrorRow) => {
    const known = ERROR_CODES.get(code)
    if (known === undefined) throw new Error(`no name for code ${code}`)
    const deviates = DEVIATIONS[String(code)] ?? DEVIATIONS[`${code} ${api}`]
    if (deviates === undefined) expect(retry !== 'give up').toBe(known.passes)
    else expect(retry !== 'give up').not.toBe(known.passes)

    // What may pass is no reason to end a pipeline, and what cannot is no reason to wait.
    if (retry !== 'give up') expect(reaction).not.toBe('fatal')
    else expect(['fatal', 'lost', 'rejoin', 'reinit', 'abort']).toContain(reaction)
    if (as === 'TIMEOUT') expect(retry).not.toBe('give up')
    if (as === 'UNAUTHORIZED') expect(retry).toBe('give up')
    if (as === 'PRODUCER_FENCED') expect(reaction).toBe('reinit')
    if (as === 'MEMBER_LOST') expect(reaction).toBe('lost')
    if (LOOKS.includes(api)) expect([reaction === 'retry' || reaction === 'fatal', done]).toEqual([true, 'no'])
    if (STEPS.includes(api)) expect(reaction).not.toBe('retry')
    // An error by which a producer is to be initialised anew, or a member is gone, was given instead of doing it.
    if ((reaction === 'reinit' || reaction === 'lost') && code !== 46) expect(done).toBe('no')
  })

  it('EndTxn: whatever may come of a commit that was carried out leaves it open; proof alone is a refusal', () => {
    const { rows, otherwise } = ERRORS_BY_API.EndTxn
    const open = rows.filter(([, , , reaction]) => reaction === 'indeterminate').map(([code]) => code)
    expect(open.sort((a, b) => a - b)).toEqual([-1, 7, 13, 14, 15, 16, 51, 52, 56])
    for (const [, retry, , reaction, done] of rows) {
      expect(done).toBe(reaction === 'indeterminate' ? 'maybe' : 'no')
      expect(retry === 'give up').toBe(reaction !== 'indeterminate')
    }
    expect(otherwise).toEqual(['indeterminate', 'indeterminate'])
  })

  it('only EndTxn can be of an unknown end', () => {
    for (const [api, , [, , , reaction]] of ALL) if (reaction === 'indeterminate') expect(api).toBe('EndTxn')
  })

  it('what went to a coordinator, and what moved, is looked up again', () => {
    const refresh = (api: ApiName, code: number): string | undefined => ERRORS_BY_API[api].rows.find((row) => row[0] === code)?.[1]
    for (const api of ['TxnOffsetCommit', 'OffsetCommit', 'OffsetFetch', 'JoinGroup', 'SyncGroup', 'Heartbeat', 'LeaveGroup'] as const)
      expect([api, refresh(api, 14), refresh(api, 15), refresh(api, 16)]).toEqual([api, 'nothing', 'coordinator', 'coordinator'])
    for (const api of ['InitProducerId', 'AddPartitionsToTxn', 'AddOffsetsToTxn', 'EndTxn'] as const)
      expect([api, refresh(api, 14), refresh(api, 15), refresh(api, 16)]).toEqual([api, 'nothing', 'coordinator', 'coordinator'])
    for (const api of ['Produce', 'Fetch', 'ListOffsets'] as const)
      expect([api, refresh(api, 6), refresh(api, 3)]).toEqual([api, 'metadata', 'metadata'])
  })
})
