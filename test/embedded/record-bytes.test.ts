import { map, type Observable } from 'rxjs'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { attempt, deadLetter, toTopic, withTransaction, type RawRecord, type RecordStream } from '../../src/index.js'
import { LogRecord } from '../../src/record/record.js'
import { createTestKit, type TestKit } from '../../src/testing/index.js'

/** The bytes of a record are its partition's: what user code does to those it was given is seen nowhere else. */
describe('key, value and headers changed in place', () => {
  let kit: TestKit
  let seen: string[]

  beforeEach(async () => {
    seen = []
    kit = await createTestKit({ topics: { in: {}, out: {}, dead: {} } })
  })
  afterEach(async () => {
    vi.restoreAllMocks()
    await kit.stop()
  })

  const spoil = ({ key, value, headers }: RawRecord): void => {
    seen.push(`${key} ${value} ${headers['h']}`)
    for (const bytes of [key, value, headers['h'] as Buffer]) bytes?.fill('!')
  }
  const run = async (project: (records: RecordStream) => Observable<unknown>): Promise<void> => {
    const source = kit.cluster.source({ group: 'g', topics: ['in'] })
    kit.run(source.pipe(withTransaction(project, { every: 10, retryDelay: 10, onError: { deadLetter: 'dead' } })))
    await kit.feed('in', { key: 'key', value: 'value', headers: { h: 'header' } })
    await kit.advance('5s')
  }
  const failing = (records: RecordStream): Observable<unknown> =>
    records.pipe(
      map((record): RawRecord => {
        spoil(record)
        throw new Error('poison')
      }),
      toTopic({ topic: 'out' }),
    )

  it('are as they were when the slice is run again, and in the dead letter', async () => {
    await run(failing)
    expect(new Set(seen)).toEqual(new Set(['key value header']))
    expect(seen.length).toBeGreaterThan(1)
    const [letter] = await kit.read('dead')
    expect(letter).toMatchObject({ key: 'key', value: 'value' })
    expect(String(letter?.headers['h'])).toBe('header')
  })

  it('are as they were in the dead letter of a step', async () => {
    await run((records) =>
      records.pipe(
        attempt((record) => {
          spoil(record)
          throw new Error('poison')
        }),
        deadLetter({ topic: 'dead' }),
        toTopic({ topic: 'out' }),
      ),
    )
    expect(await kit.read('dead')).toMatchObject([{ key: 'key', value: 'value' }])
  })

  it('are as they were in an output that was given the record as it is', async () => {
    await run((records) =>
      records.pipe(
        map((record) => {
          spoil(record)
          return record
        }),
        toTopic({ topic: 'out' }),
      ),
    )
    expect(await kit.read('out')).toMatchObject([{ key: 'key', value: 'value' }])
  })

  it('would be noticed where they are the batch itself', async () => {
    vi.spyOn(LogRecord.prototype, 'value', 'get').mockImplementation(function (this: LogRecord<unknown, unknown>) {
      const { bytes } = this.source
      const at = bytes.indexOf(seen.length === 0 ? 'value' : '!!!!!')
      return bytes.subarray(at, at + 5)
    })
    await run(failing)
    expect(new Set(seen)).not.toEqual(new Set(['key value header']))
  })
})
