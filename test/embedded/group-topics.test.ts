import type { Observable } from 'rxjs'
import { afterEach, describe, expect, it } from 'vitest'
import { MillraceError, silentLogger, toTopic, withTransaction, type Commit, type Logger, type SourceOptions } from '../../src/index.js'
import { systemClock } from '../../src/record/clock.js'
import { FORMATS, type GroupFormat } from '../../src/runtime/group/formats.js'
import { Membership, type Assignment } from '../../src/runtime/group/membership.js'
import { createEmbeddedBroker, createTestKit, type RunningPipeline, type TestKit } from '../../src/testing/index.js'

const PARTITIONS = 4

describe('members of one group that read different topics', () => {
  let kit: TestKit
  let warnings: { topic?: string; message: string }[]

  afterEach(() => kit.stop())

  const setUp = async (): Promise<void> => {
    warnings = []
    const logger: Logger = { ...silentLogger, warn: (fields, message) => void warnings.push({ ...fields, message }) }
    const partitions = { partitions: PARTITIONS }
    kit = await createTestKit({ topics: { a: partitions, b: partitions, out: { partitions: 1 } }, logger })
  }
  const pipeline = (topics: string[], options: Partial<SourceOptions> = {}): Observable<Commit> =>
    kit.cluster.source({ group: 'g', topics, ...options }).pipe(withTransaction((records) => records.pipe(toTopic({ topic: 'out' }))))
  const feedAll = async (round: number): Promise<string[]> => {
    const fed: string[] = []
    for (const topic of ['a', 'b'])
      for (let partition = 0; partition < PARTITIONS; partition++) {
        fed.push(`${topic}${partition}-${round}`)
        await kit.feed(topic, { value: `${topic}${partition}-${round}`, partition })
      }
    return fed
  }
  const written = async (): Promise<string[]> => (await kit.read('out', { from: 'earliest' })).map(({ value }) => String(value)).sort()
  /** Runs it, and expects it to be refused. */
  const refused = async (wrong: Observable<Commit>): Promise<MillraceError> => {
    const member = kit.run(wrong)
    const error: unknown = await kit.advance('2m').then(
      () => undefined,
      (failure: unknown) => failure,
    )
    expect(error).toBeInstanceOf(MillraceError)
    expect(member.ended).toBe(true)
    return error as MillraceError
  }

  it.each([
    ['another topic', ['b']],
    ['one more', ['a', 'b']],
  ])('%s: who comes second is refused with both lists, and the first has all partitions', async (_, topics) => {
    await setUp()
    const first = kit.run(pipeline(['a']))
    await kit.advance('10s')
    const error = await refused(pipeline(topics))
    expect(error).toMatchObject({ code: 'GROUP_MISMATCH', retryable: false })
    expect(error.message).toContain(`reads ${topics.map((topic) => `'${topic}'`).join(', ')}, and the other members of group 'g' read 'a'`)
    const fed = await feedAll(0)
    await kit.advance('1m')
    expect(await written()).toEqual(fed.filter((value) => value.startsWith('a')))
    expect(first.ended).toBe(false)
  })

  it('both at once: one of them goes on', async () => {
    await setUp()
    const both = [kit.run(pipeline(['b'])), kit.run(pipeline(['a']))]
    await expect(kit.advance('2m')).rejects.toMatchObject({ code: 'GROUP_MISMATCH' })
    expect(both.filter(({ ended }) => ended)).toHaveLength(1)
    expect(kit.broker.members('g')).toHaveLength(1)
  })

  it('the same topics in another order are the same', async () => {
    await setUp()
    kit.run(pipeline(['a', 'b']))
    kit.run(pipeline(['b', 'a']))
    await kit.advance('1m')
    const fed = await feedAll(0)
    await kit.advance('1m')
    expect(await written()).toEqual(fed.sort())
    expect(kit.broker.members('g')).toHaveLength(2)
    expect(warnings).toEqual([])
  })

  it.each([
    ['adds a topic', ['a'], ['a', 'b'], 'b'],
    ['removes a topic', ['a', 'b'], ['a'], 'b'],
  ])('a rolling deployment that %s and says so loses nothing and says what waits', async (_, before, after, changing) => {
    await setUp()
    const old: RunningPipeline[] = [kit.run(pipeline(before)), kit.run(pipeline(before))]
    await kit.advance('1m')
    const fed = await feedAll(0)
    for (const member of old) {
      kit.run(pipeline(after, { changingTopics: [changing] }))
      await kit.advance('1m')
      expect(warnings.at(-1)).toMatchObject({
        topic: changing,
        message: expect.stringMatching(/not all members of the group read this topic/),
      })
      fed.push(...(await feedAll(old.indexOf(member) + 1)))
      await member.stop()
      await kit.advance('1m')
    }
    warnings.length = 0
    fed.push(...(await feedAll(3)))
    await kit.advance('1m')
    const both = fed.filter((value) => !value.startsWith(changing) || after.includes(changing))
    const found = await written()
    expect(found).toEqual(expect.arrayContaining(both))
    // Of the removed topic what the old version still took, each once.
    expect(new Set(found).size).toBe(found.length)
    expect(found.filter((value) => value.startsWith('a'))).toEqual(fed.filter((value) => value.startsWith('a')).sort())
    expect(warnings).toEqual([])
  })

  it('a member with an instance id that comes back with other topics takes its old place, and is refused all the same', async () => {
    await setUp()
    const settings = { instanceId: 'one', sessionTimeout: '10m' } as const
    kit.run(pipeline(['a']))
    const changed = kit.run(pipeline(['a'], settings))
    await kit.advance('1m')
    await changed.stop()
    expect(await refused(pipeline(['b'], settings))).toMatchObject({ code: 'GROUP_MISMATCH' })
    const fed = await feedAll(0)
    await kit.advance('1m')
    expect(await written()).toEqual(fed.filter((value) => value.startsWith('a')))
    expect(kit.broker.members('g')).toHaveLength(1)
  })

  it('a member with an instance id that is stopped and started again comes back without a rebalance', async () => {
    await setUp()
    const joined: number[] = []
    const settings = { instanceId: 'one' } as const
    const other = kit.run(pipeline(['a']))
    const restarted = kit.run(pipeline(['a'], settings))
    await kit.advance('1m')
    await feedAll(0)
    await kit.advance('1m')
    joined.push(...other.commits.map(({ generation }) => generation))
    await restarted.stop()
    expect(kit.broker.members('g')).toHaveLength(2)
    kit.run(pipeline(['a'], settings))
    const fed = await feedAll(1)
    await kit.advance('20s')
    expect(new Set(other.commits.map(({ generation }) => generation))).toEqual(new Set([joined.at(-1)]))
    expect((await written()).filter((value) => value.endsWith('-1'))).toEqual(fed.filter((value) => value.startsWith('a')))
  })
})

describe('a rolling upgrade to another format of the group', () => {
  const [, before] = FORMATS as readonly [GroupFormat, GroupFormat]

  it('goes on in the format that all members know, whichever version leads, and changes over behind the last old member', async () => {
    const broker = createEmbeddedBroker()
    const stop = new AbortController()
    const client = broker.client()
    const spoken: string[] = []
    const member = (name: string, formats: readonly GroupFormat[]): Membership =>
      new Membership(client.group({ group: 'g', instanceId: undefined, sessionTimeoutMs: 10_000, rebalanceTimeoutMs: 10_000 }), {
        group: 'g',
        instanceId: undefined,
        topics: ['t'],
        changingTopics: [],
        innerTopics: [],
        stateful: true,
        sessionTimeoutMs: 10_000,
        standbys: 0,
        warm: () => [],
        address: name,
        clock: systemClock,
        logger: silentLogger,
        onChange: () => {},
        formats: formats.map((format) => ({
          ...format,
          assignment: { ...format.assignment, encode: (division) => (spoken.push(format.name), format.assignment.encode(division)) },
        })),
      })
    const join = (one: Membership): Promise<Assignment | undefined> => one.join(async () => 5, stop.signal)
    const [old, first, second] = [member('old', [before]), member('first', FORMATS), member('second', FORMATS)]
    expect(await join(old)).toMatchObject({ tasks: [0, 1, 2, 3, 4] })
    const [a, b] = await Promise.all([join(first), join(old)])
    expect([...(a?.tasks ?? []), ...(b?.tasks ?? [])].sort()).toEqual([0, 1, 2, 3, 4])
    expect(a?.owners).toEqual(b?.owners)
    expect(new Set(spoken)).toEqual(new Set([before.name]))
    await old.leave()
    spoken.length = 0
    const [c, d] = await Promise.all([join(first), join(second)])
    expect([...(c?.tasks ?? []), ...(d?.tasks ?? [])].sort()).toEqual([0, 1, 2, 3, 4])
    expect(new Set(c?.owners)).toEqual(new Set(['first', 'second']))
    expect(spoken.at(-1)).toBe(FORMATS[0]?.name)
    stop.abort()
    await client.close()
  })
})
