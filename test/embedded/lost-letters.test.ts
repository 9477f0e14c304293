import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Observable } from 'rxjs'
import {
  attempt,
  deadLetter,
  retryTopic,
  silentLogger,
  toTopic,
  withTransaction,
  type Commit,
  type Logger,
  type RetryTopicOptions,
  type SourceOptions,
} from '../../src/index.js'
import { createTestKit, type RunningPipeline, type TestKit } from '../../src/testing/index.js'
import { VainWaits } from '../../src/operators/retry/vain-waits.js'

interface Warning {
  readonly message: string
  readonly keys?: number
  readonly offsets?: string
  readonly topics?: readonly string[]
}

describe("keys that wait for letters which are in no retry topic any more, ordered: 'key'", () => {
  let kit: TestKit
  let warnings: Warning[]
  /** Values that fail. */
  let bad: Set<string>

  beforeEach(async () => {
    warnings = []
    bad = new Set(['a0'])
    const logger: Logger = { ...silentLogger, warn: (fields, message) => void warnings.push({ ...fields, message }) }
    kit = (await createTestKit({ topics: { in: {}, out: {}, dead: {} }, logger })) as unknown as TestKit
  })
  afterEach(() => kit.stop())

  const pipeline = (options: Partial<RetryTopicOptions> = {}, source: Partial<SourceOptions> = {}): Observable<Commit> =>
    kit.cluster.source({ group: 'g', topics: ['in'], ...source }).pipe(
      withTransaction(
        (records) =>
          records.pipe(
            attempt((record) => {
              if (bad.has(String(record.value))) throw new Error('bad')
            }),
            retryTopic({ delays: ['20s'], ordered: 'key', ...options }),
            deadLetter({ topic: 'dead' }),
            toTopic({ topic: 'out' }),
          ),
        { every: '50ms', provision: true },
      ),
    )
  const feed = (...values: string[]): Promise<unknown> =>
    kit.feed(
      'in',
      values.map((value) => ({ key: value[0] as string, value })),
    )
  const done = async (topic = 'out'): Promise<unknown[]> => (await kit.read(topic, { from: 'earliest' })).map(({ value }) => value)
  const told = (): Warning[] => warnings.filter(({ message }) => message.includes('in no retry topic any more'))
  const lostIn = ({ commits }: RunningPipeline): number => commits.reduce((sum, { meters }) => sum + (meters['retry.lost'] ?? 0), 0)

  /** One key waits in the retry topic, and the pipeline is stopped. */
  const waiting = async (options: Partial<RetryTopicOptions> = {}): Promise<void> => {
    const first = kit.run(pipeline(options))
    await feed('a0', 'a1', 'b0')
    await kit.advance('1s')
    await first.stop()
    expect(await done()).toEqual(['b0'])
  }

  it('go on without them where the topic was deleted, and the log says so', async () => {
    await waiting()
    await kit.cluster.deleteTopics(['in.g.retry.20s'])
    const running = kit.run(pipeline())
    await feed('a2', 'b1')
    await kit.advance('1s')
    const made = warnings.filter(({ message }) => message.includes('these topics of its own were missing'))
    expect(made).toMatchObject([{ topics: ['in.g.retry.20s'] }])
    await kit.advance('1m')
    expect(await done()).toEqual(['b0', 'b1', 'a2'])
    // The others of the input that went to the retry topic.
    expect(told()).toMatchObject([{ keys: 1, offsets: '0 to 1' }])
    const events = kit.cluster.status.snapshot().pipelines.flatMap((one) => one.events.map(({ message }) => message))
    expect(events.filter((message) => message.includes('in no retry topic any more'))).toHaveLength(1)
    expect(lostIn(running)).toBe(1)
    await feed('a3', 'a4')
    await kit.advance('1s')
    expect((await done()).slice(-2)).toEqual(['a3', 'a4'])
    const last = new Map((await kit.read('g-retry-changelog', { from: 'earliest' })).map(({ key, value }) => [key, value]))
    expect([...last]).toEqual([['in/a', null]])
  })

  it('go on in their order where retention took the first of them, through crashes and aborts', async () => {
    await waiting()
    await feed('a2')
    kit.broker.truncate({ topic: 'in.g.retry.20s', partition: 0, offset: 1 })
    const ends = kit.run(pipeline())
    await expect(kit.advance('1m')).rejects.toMatchObject({ code: 'OFFSET_OUT_OF_RANGE' })
    expect(ends.ended).toBe(true)
    const crashing = kit.run(pipeline({}, { onOutOfRange: 'earliest', sessionTimeout: '10s' }))
    await kit.advance('25s')
    await crashing.crash()
    kit.run(pipeline({}, { onOutOfRange: 'earliest' }))
    for (let i = 0; i < 20; i++) {
      kit.broker.faults.inject({ at: 'end', reaction: 'abort' })
      await kit.advance('2s')
    }
    kit.broker.faults.clear()
    await feed('a3')
    await kit.advance('1m')
    expect(await done()).toEqual(['b0', 'a1', 'a2', 'a3'])
    expect(told().at(-1)).toMatchObject({ keys: 1, offsets: '0 to 0' })
  })

  it('wait as long as it takes where they are there, also under other delays than those they went by', async () => {
    await waiting({ delays: ['5m'] })
    const running = kit.run(pipeline({ delays: ['1s', '2s'], drain: ['5m'] }))
    await feed('a2')
    await kit.advance('4m')
    expect(await done()).toEqual(['b0'])
    bad.clear()
    await kit.advance('2m')
    expect(await done()).toEqual(['b0', 'a0', 'a1', 'a2'])
    expect([told(), lostIn(running)]).toEqual([[], 0])
  })

  it('would wait for ever, if nobody saw that they do so in vain', async () => {
    const { isVain } = VainWaits.prototype
    VainWaits.prototype.isVain = () => false
    try {
      await waiting()
      await kit.cluster.deleteTopics(['in.g.retry.20s'])
      kit.run(pipeline())
      await feed('a2', 'b1')
      await kit.advance('1m')
      expect(await done()).toEqual(['b0', 'b1'])
    } finally {
      VainWaits.prototype.isVain = isVain
    }
  })
})
