import { describe, expect, it } from 'vitest'
import { logError } from '../../../src/log/error.js'
import type { GroupMember, JoinResult, LogGroup, Reaction } from '../../../src/log/port.js'
import { sleep } from '../../../src/record/clock.js'
import { silentLogger } from '../../../src/record/logger.js'
import { Membership, type MembershipOptions } from '../../../src/runtime/group/membership.js'
import { VirtualClock } from '../../../src/testing/index.js'

const SESSION_MS = 30_000
const BEAT_MS = 3_000

/** A group of one, and what was asked of its coordinator. */
class LoneGroup implements LogGroup {
  readonly joins: number[] = []
  beats = 0
  inFlight = 0
  mostInFlight = 0
  left = 0
  /** What each answer takes. */
  delayMs = 30
  refuse: { readonly join?: Reaction; readonly heartbeat?: Reaction } = {}
  silent = false

  constructor(private readonly clock: VirtualClock) {}

  async join(_memberId: string, protocols: readonly { readonly name: string; readonly metadata: Buffer }[]): Promise<JoinResult> {
    this.joins.push(this.clock.now())
    if (this.refuse.join !== undefined) throw logError('TIMEOUT', this.refuse.join, 'no coordinator')
    const [{ name, metadata }] = protocols as [{ name: string; metadata: Buffer }]
    return { memberId: 'm1', generation: this.joins.length, protocol: name, members: [{ memberId: 'm1', instanceId: undefined, metadata }] }
  }

  async sync(_member: GroupMember, assignments: ReadonlyMap<string, Buffer> | undefined): Promise<Buffer> {
    return assignments?.get('m1') as Buffer
  }

  async heartbeat(): Promise<void> {
    this.beats++
    this.mostInFlight = Math.max(this.mostInFlight, ++this.inFlight)
    await sleep(this.clock, this.silent ? 10_000 : this.delayMs)
    this.inFlight--
    if (this.silent) throw logError('TIMEOUT', 'retry', 'no answer')
    if (this.refuse.heartbeat !== undefined) throw logError('TIMEOUT', this.refuse.heartbeat, 'refused')
  }

  async leave(): Promise<void> {
    this.left++
  }
}

function setUp(options: Partial<MembershipOptions> = {}): {
  clock: VirtualClock
  group: LoneGroup
  membership: Membership
  warnings: { seconds?: number; error?: string; message: string }[]
  join: (signal?: AbortSignal) => ReturnType<Membership['join']>
} {
  const clock = new VirtualClock()
  const group = new LoneGroup(clock)
  const warnings: { message: string }[] = []
  const membership = new Membership(group, {
    group: 'g',
    instanceId: undefined,
    topics: ['t'],
    changingTopics: [],
    innerTopics: [],
    stateful: false,
    sessionTimeoutMs: SESSION_MS,
    standbys: 0,
    warm: () => [],
    address: undefined,
    clock,
    logger: { ...silentLogger, warn: (fields, message) => void warnings.push({ ...fields, message }) },
    onChange: () => {},
    ...options,
  })
  return { clock, group, membership, warnings, join: (signal = new AbortController().signal) => membership.join(async () => 1, signal) }
}

describe('heartbeats', () => {
  it('go at one rate, however often the coordinator is asked between them and however often the member joins', async () => {
    const { clock, group, membership, join } = setUp()
    await join()
    const beatsIn = async (ms: number): Promise<number> => {
      const before = group.beats
      await clock.advance(ms)
      return group.beats - before
    }
    const alone = await beatsIn(60_000)
    expect(alone).toBeGreaterThan(15)
    for (let i = 0; i < 5; i++) {
      // While a beat is in flight.
      await clock.advance(BEAT_MS)
      while (group.inFlight === 0) await clock.advance(1)
      const probes = [membership.probe(), membership.probe()]
      await clock.advance(5 * group.delayMs)
      expect(await Promise.all(probes)).toEqual([true, true])
    }
    await join()
    expect(await beatsIn(60_000)).toBeLessThanOrEqual(alone + 1)
    expect(group.mostInFlight).toBe(1)
  })

  it('a probe is answered by a beat that was sent after it was asked for', async () => {
    const { clock, group, membership, join } = setUp()
    await join()
    while (group.inFlight === 0) await clock.advance(1)
    const before = group.beats
    const probe = membership.probe()
    group.refuse = { heartbeat: 'lost' }
    await clock.advance(5 * group.delayMs)
    expect(await probe).toBe(false)
    expect(membership.state).toBe('lost')
    expect(group.beats).toBe(before)
  })

  it('a member that gets no answer for a session takes itself for lost, and one that does not', async () => {
    const { clock, group, membership, warnings, join } = setUp()
    await join()
    await clock.advance(10 * SESSION_MS)
    expect(membership.state).toBe('stable')
    group.silent = true
    await clock.advance(SESSION_MS - BEAT_MS - group.delayMs)
    expect(membership.state).toBe('stable')
    await clock.advance(BEAT_MS + group.delayMs)
    expect(membership.state).toBe('lost')
    expect(warnings).toMatchObject([{ message: expect.stringMatching(/coordinator has not answered for as long as a session lasts/) }])
    const { beats } = group
    await clock.advance(10 * SESSION_MS)
    expect(group.beats).toBeLessThanOrEqual(beats + 1)
    expect(membership.state).toBe('lost')
  })
})

describe('joining', () => {
  it.each(['rejoin', 'lost', 'retry'] as const)(
    "goes on with growing pauses where the answer is '%s' again and again, and says so",
    async (reaction) => {
      const { clock, group, warnings, join } = setUp()
      group.refuse = { join: reaction }
      const joined = join()
      await clock.advance(60_000)
      // Doubling from 200 ms to 5 s, and at once only the first time.
      expect(group.joins.length).toBeLessThan(20)
      const pauses = group.joins.slice(1).map((at, i) => at - (group.joins[i] as number))
      expect(pauses.slice(reaction === 'retry' ? 0 : 1)).toEqual([...pauses.slice(reaction === 'retry' ? 0 : 1)].sort((a, b) => a - b))
      expect(pauses.at(-1)).toBe(5_000)
      expect(warnings.map(({ seconds, error }) => [seconds, error])).toEqual([5, 10, 20, 40].map((seconds) => [seconds, 'no coordinator']))
      group.refuse = {}
      await clock.advance(5_000)
      expect(await joined).toMatchObject({ tasks: [0] })
      await clock.advance(60_000)
      expect(warnings).toHaveLength(4)
    },
  )

  it('a stop ends it at once, and nothing is said afterwards', async () => {
    const { clock, group, warnings, join } = setUp()
    group.refuse = { join: 'retry' }
    const stop = new AbortController()
    const joined = join(stop.signal)
    await clock.advance(1_000)
    stop.abort()
    expect(await joined).toBeUndefined()
    await clock.advance(60_000)
    expect(warnings).toEqual([])
  })

  it('a member leaves the group in an orderly stop; one with an instance id keeps its place', async () => {
    for (const instanceId of [undefined, 'one']) {
      const { group, membership, join } = setUp({ instanceId })
      await join()
      await membership.leave()
      expect(group.left).toBe(instanceId === undefined ? 1 : 0)
      expect(membership.state).toBe('lost')
    }
  })
})
