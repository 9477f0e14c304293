import { expect } from 'vitest'
import type { GroupMember, JoinResult, LogClient, LogError, LogGroup } from '../../src/log/port.js'
import { until } from '../support/until.js'
import type { ContractCase } from './case.js'
import { SUBSCRIPTION, batchOf, newTopic, producer, uniqueName } from './support.js'

/** Members, generations, and who is told what. */
export const groups: readonly ContractCase[] = [
  {
    name: "a second member's join shows as 'rejoin' at the first one's heartbeat; the leader gives both their parts",
    async run({ client, newClient }) {
      const name = uniqueName('group')
      const [a, b] = [new Participant(client, name), new Participant(newClient(), name)]
      expect(String(await a.enter())).toBe(`part of ${a.member.memberId}`)
      await a.group.heartbeat(a.member)
      const first = a.member
      const joining = b.join()
      expect(await heartbeatError(a)).toMatchObject({ code: 'REBALANCE_IN_PROGRESS', reaction: 'rejoin' })
      await Promise.all([a.join(), joining])
      expect(a.member.memberId).toBe(first.memberId)
      expect(a.member.generation).toBeGreaterThan(first.generation)
      expect(b.member.generation).toBe(a.member.generation)
      const led = [a, b].filter(({ joined }) => joined.members !== undefined)
      expect(led).toHaveLength(1)
      expect(led[0]?.joined.members?.map(({ memberId }) => memberId).sort()).toEqual([a, b].map(({ member }) => member.memberId).sort())
      expect(led[0]?.joined.members?.map(({ metadata }) => metadata)).toEqual([SUBSCRIPTION, SUBSCRIPTION])
      const parts = await Promise.all([a.sync(), b.sync()])
      expect(parts.map(String)).toEqual([a, b].map(({ member }) => `part of ${member.memberId}`))
      await Promise.all([a.group.heartbeat(a.member), b.group.heartbeat(b.member)])
      await expect(a.group.heartbeat(first)).rejects.toMatchObject({ code: 'MEMBER_LOST', reaction: 'lost' })
    },
  },
  {
    name: "a member that leaves or falls silent is 'lost', and the others divide its work",
    async run({ client, newClient }) {
      const name = uniqueName('group')
      const [a, b, silent] = [
        new Participant(client, name),
        new Participant(newClient(), name),
        new Participant(newClient(), name, undefined, 1_000),
      ]
      await a.enter()
      await rebalanced([a], b)
      await b.group.leave(b.member)
      await expect(b.group.heartbeat(b.member)).rejects.toMatchObject({ code: 'MEMBER_LOST', reaction: 'lost' })
      await expect(b.group.join(b.member.memberId, [{ name: 'test', metadata: SUBSCRIPTION }])).rejects.toMatchObject({ reaction: 'lost' })
      expect(await heartbeatError(a)).toMatchObject({ reaction: 'rejoin' })
      await a.enter()
      expect(a.joined.members).toHaveLength(1)

      await rebalanced([a], silent)
      expect(await heartbeatError(a)).toMatchObject({ reaction: 'rejoin' })
      await a.enter()
      expect(a.joined.members).toHaveLength(1)
      await expect(silent.group.heartbeat(silent.member)).rejects.toMatchObject({ code: 'MEMBER_LOST', reaction: 'lost' })
    },
  },
  {
    name: 'a member restarted with its instance id takes its place without a rebalance; the old process is fenced',
    async run({ client, newClient }) {
      const name = uniqueName('group')
      const topic = await newTopic(client)
      const [old, other] = [new Participant(client, name, 'one'), new Participant(newClient(), name)]
      await old.enter()
      await rebalanced([old], other)
      const restarted = new Participant(newClient(), name, 'one')
      await restarted.join()
      expect(restarted.member.generation).toBe(old.member.generation)
      expect(restarted.member.memberId).not.toBe(old.member.memberId)
      expect(String(await restarted.group.sync(restarted.member, undefined))).toBe(`part of ${old.member.memberId}`)
      await other.group.heartbeat(other.member)
      await restarted.group.heartbeat(restarted.member)

      const fenced = { code: 'INSTANCE_FENCED', reaction: 'fatal' }
      await expect(old.group.heartbeat(old.member)).rejects.toMatchObject(fenced)
      await expect(old.group.join(old.member.memberId, [{ name: 'test', metadata: SUBSCRIPTION }])).rejects.toMatchObject(fenced)
      const sender = await producer(client, uniqueName('tx'))
      await sender.send([batchOf(topic, 0, ['old'])])
      await expect(sender.commit([{ topic, partition: 0, offset: 1 }], old.member)).rejects.toMatchObject({ reaction: 'lost' })
      await sender.abort()
      expect(await client.committedOffsets(name, [{ topic, partition: 0 }])).toEqual([undefined])
      await sender.commit([{ topic, partition: 0, offset: 2 }], restarted.member)
      expect(await client.committedOffsets(name, [{ topic, partition: 0 }])).toEqual([2])
    },
  },
  {
    name: 'a member whose place a dead process took is told when it is free, under its old id or any other; asking so takes it from nobody',
    async run({ client, newClient }) {
      const name = uniqueName('group')
      const old = new Participant(client, name, 'one')
      await old.enter()
      // It never beats.
      const late = new Participant(newClient(), name, 'one', 1_000)
      await late.join()
      const ask = (memberId: string): Promise<LogError> =>
        old.group.join(memberId, [{ name: 'test', metadata: SUBSCRIPTION }]).then(
          () => expect.fail('was let in'),
          (error: unknown) => error as LogError,
        )
      const ids = [old.member.memberId, 'no id of anybody']
      for (const id of ids) expect(await ask(id)).toMatchObject({ code: 'INSTANCE_FENCED', reaction: 'fatal' })
      await late.group.heartbeat(late.member)
      for (const id of ids) await until(async () => (await ask(id)).code === 'MEMBER_LOST', { what: 'the place to be free' })
      expect(await ask(ids[0] as string)).toMatchObject({ reaction: 'lost' })
      const again = new Participant(client, name, 'one')
      await again.enter()
      await again.group.heartbeat(again.member)
    },
  },
  {
    name: 'members that know several protocols take the newest that all of them know, and the leader sees what they say in that one',
    async run({ client, newClient }) {
      const name = uniqueName('group')
      const of = (protocols: string[]): Participant => new Participant(newClient(), name, undefined, 10_000, protocols)
      const [old, upgraded] = [new Participant(client, name, undefined, 10_000, ['old']), of(['new', 'old'])]
      await old.enter()
      expect(old.joined.protocol).toBe('old')
      await rebalanced([old], upgraded)
      expect([old, upgraded].map(({ joined }) => joined.protocol)).toEqual(['old', 'old'])
      const seen = [old, upgraded].flatMap(({ joined }) => joined.members ?? [])
      expect(seen.map(({ metadata }) => metadata)).toEqual([subscriptionOf('old'), subscriptionOf('old')])
      // The last one of the old version goes: the next generation speaks the new one.
      await old.group.leave(old.member)
      expect(await heartbeatError(upgraded)).toMatchObject({ reaction: 'rejoin' })
      await upgraded.enter()
      expect(upgraded.joined.protocol).toBe('new')
      expect(upgraded.joined.members?.map(({ metadata }) => metadata)).toEqual([subscriptionOf('new')])
    },
  },
  {
    name: 'a member with another protocol is refused',
    async run({ client, newClient }) {
      const name = uniqueName('group')
      await new Participant(client, name).enter()
      await expect(new Participant(newClient(), name).group.join('', [{ name: 'other', metadata: SUBSCRIPTION }])).rejects.toMatchObject({
        code: 'BROKER_REFUSED',
        reaction: 'fatal',
      })
    },
  },
]

/** A subscription to no topic that says which protocol it is for. */
function subscriptionOf(protocol: string): Buffer {
  return protocol === 'test'
    ? SUBSCRIPTION
    : Buffer.concat([SUBSCRIPTION.subarray(0, 6), Buffer.from([0, 0, 0, protocol.length]), Buffer.from(protocol)])
}

/** One process in a group. As the leader it gives everybody a part named after them. */
class Participant {
  readonly group: LogGroup
  joined: JoinResult = { memberId: '', generation: -1, protocol: '', members: undefined }

  constructor(
    log: LogClient,
    private readonly name: string,
    private readonly instanceId?: string,
    sessionTimeoutMs = 10_000,
    private readonly protocols = ['test'],
  ) {
    this.group = log.group({ group: name, instanceId, sessionTimeoutMs, rebalanceTimeoutMs: 10_000 })
  }

  get member(): GroupMember {
    const { memberId, generation } = this.joined
    return { group: this.name, memberId, generation, instanceId: this.instanceId }
  }

  async join(): Promise<void> {
    this.joined = await this.group.join(
      this.joined.memberId,
      this.protocols.map((name) => ({ name, metadata: subscriptionOf(name) })),
    )
  }

  sync(): Promise<Buffer> {
    const { members } = this.joined
    return this.group.sync(this.member, members && new Map(members.map(({ memberId }) => [memberId, Buffer.from(`part of ${memberId}`)])))
  }

  async enter(): Promise<Buffer> {
    await this.join()
    return this.sync()
  }
}

/** Lets another into the group, with all of them in the next generation. */
async function rebalanced(present: readonly Participant[], entering: Participant): Promise<void> {
  const joining = entering.join()
  await Promise.all(present.map(heartbeatError))
  await Promise.all([...present.map((participant) => participant.join()), joining])
  await Promise.all([...present, entering].map((participant) => participant.sync()))
}

/** What the next heartbeat that is refused says. */
function heartbeatError({ group, member }: Participant): Promise<LogError> {
  return until(
    () =>
      group.heartbeat(member).then(
        () => undefined,
        (error: unknown) => error as LogError,
      ),
    { what: 'a heartbeat to be refused' },
  )
}
