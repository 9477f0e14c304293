import { tap } from 'rxjs'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import {
  MillraceError,
  attempt,
  deadLetter,
  dropFailed,
  retryTopic,
  withTransaction,
  type AttemptRetry,
  type FailedRecord,
  type RawRecord,
  type RetryTopicOptions,
} from '../../src/index.js'
import { createTestKit, type TestKit } from '../../src/testing/index.js'

class CardDeclined extends Error {}

describe('what is not worth retrying is not tried again, in place or later', () => {
  let kit: TestKit
  let calls: string[]
  let failed: FailedRecord[]

  beforeEach(async () => {
    kit = await createTestKit({ topics: { in: {}, dead: {} } })
    calls = []
    failed = []
  })

  afterEach(() => kit.stop())

  const charge = async (
    retry: Partial<AttemptRetry>,
    errors: Record<string, unknown>,
    later?: Partial<RetryTopicOptions>,
    sync = false,
  ) => {
    const call = (record: RawRecord): unknown => {
      const what = String(record.value)
      calls.push(what)
      if (!(what in errors)) return undefined
      if (sync) throw errors[what]
      return Promise.reject(errors[what] as Error)
    }
    kit.run(
      kit.cluster.source({ group: 'g', topics: ['in'] }).pipe(
        withTransaction(
          (records) =>
            records.pipe(
              attempt(call, { retry: { times: 2, delay: '10ms', ...retry } }),
              tap((r) => {
                if ('retryable' in r) failed.push(r)
              }),
              retryTopic({ delays: ['1m'], ...later }),
              deadLetter({ topic: 'dead' }),
              dropFailed(),
            ),
          { provision: true },
        ),
      ),
    )
    await kit.feed(
      'in',
      [...Object.keys(errors), 'fine'].map((value, i) => ({ key: `k${i}`, value })),
    )
    await kit.advance('10m')
  }
  const count = (what: string): number => calls.filter((call) => call === what).length
  const dead = async (): Promise<unknown[]> => (await kit.read('dead')).map(({ value }) => value)

  for (const sync of [false, true]) {
    it(`except: a declined card is charged once, and is dead at once (${sync ? 'thrown' : 'rejected'})`, async () => {
      await charge({ except: CardDeclined }, { declined: new CardDeclined('no'), down: new Error('503') }, {}, sync)
      expect([count('declined'), count('down'), count('fine')]).toEqual([1, 6, 1])
      expect(failed.map(({ error, attempts, retryable }) => [String(error), attempts, retryable])).toEqual([
        ['Error: no', 1, false],
        ['Error: 503', 3, true],
        ['Error: 503', 3, true],
      ])
      expect(await dead()).toEqual(['declined', 'down'])
    })
  }

  it('only: what it leaves out is not tried again', async () => {
    await charge(
      { only: ['ECONNRESET', (error) => String(error) === 'Error: busy'] },
      {
        reset: Object.assign(new Error('r'), { code: 'ECONNRESET' }),
        busy: new Error('busy'),
        other: new Error('other'),
      },
    )
    expect([count('reset'), count('busy'), count('other')]).toEqual([6, 6, 1])
  })

  it('by default, what time cannot change is left out', async () => {
    await charge({}, { odd: new MillraceError('DECODE_FAILED', 'odd') })
    expect([count('odd'), await dead()]).toEqual([1, ['odd']])
  })

  it('a retry topic that names it takes it all the same', async () => {
    await charge({ except: CardDeclined }, { declined: new CardDeclined('no') }, { only: CardDeclined })
    expect(count('declined')).toBe(2)
  })

  it('wrong ones are refused by name', () => {
    expect(() => attempt(() => {}, { retry: { times: 1, except: 5 as never } })).toThrow(/retry\.except: expected error classes/)
  })
})
