import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import type { GroupMember, JoinResult, LogClient, LogGroup } from '../../../src/log/port.js'
import { observe, type Observer } from '../../support/kafka/client.js'
import { until } from '../../support/until.js'
import { client, uniqueName } from './support.js'

const PROTOCOL = 'test'

describe('group membership', () => {
  let first: LogClient
  let second: LogClient
  let observer: Observer

  beforeAll(() => {
    first = client(inject('kafkaBrokers'))
    second = client(inject('kafkaBrokers'))
    observer = observe(inject('kafkaBrokers'))
  })
  afterAll(async () => {
    await first.close()
    await second.close()
    await observer.close()
  })

  const membership = (log: LogClient, group: string, instanceId?: string): LogGroup =>
    log.group({ group, instanceId, sessionTimeoutMs: 2_000, rebalanceTimeoutMs: 5_000 })
  const memberOf = (group: string, { memberId, generation }: JoinResult, instanceId?: string): GroupMember => ({
    group,
    memberId,
    generation,
    instanceId,
  })
  /** A subscription that carries a text. */
  const saying = (text: string): Buffer => Buffer.concat([Buffer.from([0, 0, 0, 0, 0, 0, 0, 0, 0, text.length]), Buffer.from(text)])

  it('a second member makes the first join again; the leader sees both and gives each its part', async () => {
    const name = uniqueName('group')
    const [a, b] = [membership(first, name), membership(second, name)]
    const alone = await a.join('', [{ name: PROTOCOL, metadata: saying('a') }])
    expect(alone.members?.map(({ metadata }) => metadata.toString('utf8', 10))).toEqual(['a'])
    const member = memberOf(name, alone)
    expect(String(await a.sync(member, new Map([[alone.memberId, Buffer.from('all')]])))).toBe('all')
    await a.heartbeat(member)

    const joining = b.join('', [{ name: PROTOCOL, metadata: saying('b') }])
    const asked = await until(() =>
      a.heartbeat(member).then(
        () => undefined,
        (error: unknown) => error as Error,
      ),
    )
    expect(asked).toMatchObject({ code: 'REBALANCE_IN_PROGRESS', reaction: 'rejoin' })
    const [again, other] = await Promise.all([a.join(alone.memberId, [{ name: PROTOCOL, metadata: saying('a') }]), joining])
    expect(again.generation).toBe(other.generation)
    const [leader, follower] = again.members === undefined ? [other, again] : [again, other]
    expect(follower.members).toBeUndefined()
    expect(leader.members).toHaveLength(2)
    const parts = new Map([again, other].map(({ memberId }) => [memberId, Buffer.from(`part of ${memberId}`)]))
    const assignments = (result: JoinResult): Map<string, Buffer> | undefined => (result === leader ? parts : undefined)
    const received = await Promise.all([
      a.sync(memberOf(name, again), assignments(again)),
      b.sync(memberOf(name, other), assignments(other)),
    ])
    expect(received.map(String)).toEqual([`part of ${again.memberId}`, `part of ${other.memberId}`])

    await expect(a.heartbeat(member)).rejects.toMatchObject({ reaction: 'lost' })
    await b.leave(memberOf(name, other))
    await expect(b.heartbeat(memberOf(name, other))).rejects.toMatchObject({ code: 'MEMBER_LOST', reaction: 'lost' })
    await expect(
      until(() =>
        a.heartbeat(memberOf(name, again)).then(
          () => undefined,
          (error: unknown) => error as Error,
        ),
      ),
    ).resolves.toMatchObject({ reaction: 'rejoin' })
  })

  it('a member without heartbeats is lost', async () => {
    const name = uniqueName('group')
    const group = membership(first, name)
    const joined = await group.join('', [{ name: PROTOCOL, metadata: saying('a') }])
    await group.sync(memberOf(name, joined), new Map([[joined.memberId, Buffer.alloc(0)]]))
    const admin = await observer.admin()
    // Not asked by a heartbeat, which would be one.
    await until(async () => (await admin.describeGroups([name])).groups[0]?.state === 'Empty')
    await expect(group.heartbeat(memberOf(name, joined))).rejects.toMatchObject({ reaction: 'lost' })
    await expect(group.join(joined.memberId, [{ name: PROTOCOL, metadata: saying('a') }])).rejects.toMatchObject({ reaction: 'lost' })
    expect((await group.join('', [{ name: PROTOCOL, metadata: saying('a') }])).memberId).not.toBe(joined.memberId)
  })

  it('a static member takes its place again without a rebalance; the process it replaces is told so', async () => {
    const name = uniqueName('group')
    const [a, b] = [membership(first, name, 'one'), membership(second, name, 'one')]
    const joined = await a.join('', [{ name: PROTOCOL, metadata: saying('a') }])
    const member = memberOf(name, joined, 'one')
    await a.sync(member, new Map([[joined.memberId, Buffer.from('part')]]))
    const taken = await b.join('', [{ name: PROTOCOL, metadata: saying('a') }])
    expect(taken.generation).toBe(joined.generation)
    expect(
      String(
        await b.sync(
          memberOf(name, taken, 'one'),
          taken.members === undefined ? undefined : new Map([[taken.memberId, Buffer.from('part')]]),
        ),
      ),
    ).toBe('part')
    await expect(a.heartbeat(member)).rejects.toMatchObject({ code: 'INSTANCE_FENCED', reaction: 'fatal' })
    await expect(a.join(joined.memberId, [{ name: PROTOCOL, metadata: saying('a') }])).rejects.toMatchObject({
      code: 'INSTANCE_FENCED',
      reaction: 'fatal',
    })
    await b.leave(memberOf(name, taken, 'one'))
  })

  it('another protocol in the same group is refused', async () => {
    const name = uniqueName('group')
    const group = membership(first, name)
    const joined = await group.join('', [{ name: PROTOCOL, metadata: saying('a') }])
    await group.sync(memberOf(name, joined), new Map([[joined.memberId, Buffer.alloc(0)]]))
    await expect(membership(second, name).join('', [{ name: 'other', metadata: saying('b') }])).rejects.toMatchObject({
      code: 'BROKER_REFUSED',
      reaction: 'fatal',
    })
  })

  it('leaves while a join waits for the others', async () => {
    const name = uniqueName('group')
    const [a, b] = [membership(first, name), membership(second, name)]
    const joined = await a.join('', [{ name: PROTOCOL, metadata: saying('a') }])
    await a.sync(memberOf(name, joined), new Map([[joined.memberId, Buffer.alloc(0)]]))
    const waiting = b.join('', [{ name: PROTOCOL, metadata: saying('b') }]).catch((error: unknown) => error)
    await until(() =>
      a.heartbeat(memberOf(name, joined)).then(
        () => false,
        () => true,
      ),
    )
    const rejoining = a.join(joined.memberId, [{ name: PROTOCOL, metadata: saying('a') }])
    const [other, again] = [(await waiting) as JoinResult, await rejoining]
    // With other metadata than before, or the coordinator takes it for a repetition and answers at once.
    const stuck = a.join(again.memberId, [{ name: PROTOCOL, metadata: saying('c') }]).catch((error: unknown) => error)
    await until(
      () =>
        b.heartbeat(memberOf(name, other)).then(
          () => false,
          () => true,
        ),
      { what: 'the coordinator to hold the join' },
    )
    await a.leave(memberOf(name, again))
    // The place is free: the other member, joining again, is alone.
    const alone = await b.join(other.memberId, [{ name: PROTOCOL, metadata: saying('b') }])
    expect(alone.members?.map(({ memberId }) => memberId)).toEqual([other.memberId])
    await b.leave(memberOf(name, alone))
    expect(await stuck).toMatchObject({ code: 'CLOSED' })
  })
})
