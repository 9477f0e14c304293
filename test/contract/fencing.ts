import { expect } from 'vitest'
import type { ContractCase } from './case.js'
import { SUBSCRIPTION, batchOf, newTopic, producer, readAll, soleMember, uniqueName } from './support.js'

/** Who may no longer commit. */
export const fencing: readonly ContractCase[] = [
  {
    name: 'the commit of an older generation or an unknown member is refused, and nothing of it stays',
    async run({ client, newClient }) {
      const topic = await newTopic(client)
      const at = [{ topic, partition: 0 }]
      const zombie = await soleMember(client, uniqueName('group'))
      const group = newClient().group({ group: zombie.group, instanceId: undefined, sessionTimeoutMs: 10_000, rebalanceTimeoutMs: 10_000 })
      const { memberId, generation } = await group.join(zombie.memberId, [{ name: 'test', metadata: SUBSCRIPTION }])
      const member = { ...zombie, memberId, generation }
      await group.sync(member, new Map([[memberId, Buffer.alloc(0)]]))
      expect(generation).toBe(zombie.generation + 1)

      const sender = await producer(client, uniqueName('tx'))
      for (const refused of [zombie, { ...member, memberId: 'nobody' }]) {
        await sender.send([batchOf(topic, 0, ['zombie'])])
        await expect(sender.commit([{ topic, partition: 0, offset: 5 }], refused)).rejects.toMatchObject({
          code: 'MEMBER_LOST',
          reaction: 'lost',
        })
        await expect(sender.commit([], undefined)).rejects.toMatchObject({ reaction: 'lost' })
        await sender.abort()
        expect(await readAll(client, topic, 0)).toEqual([])
        expect(await client.committedOffsets(member.group, at)).toEqual([undefined])
      }
      await expect(sender.commit([{ topic, partition: 0, offset: 5 }], zombie)).rejects.toMatchObject({ reaction: 'lost' })
      await sender.abort()
      await sender.send([batchOf(topic, 0, ['member'])])
      await sender.commit([{ topic, partition: 0, offset: 6 }], member)
      expect(await readAll(client, topic, 0)).toEqual(['member'])
      expect(await client.committedOffsets(member.group, at)).toEqual([6])
    },
  },
  {
    name: 'a commit whose offsets move nothing is refused once its generation is over, and nothing of it stays',
    async run({ client, newClient }) {
      const topic = await newTopic(client)
      const zombie = await soleMember(client, uniqueName('group'))
      const sender = await producer(client, uniqueName('tx'))
      const standing = [{ topic, partition: 0, offset: 5 }]
      await sender.commit(standing, zombie)
      await sender.send([batchOf(topic, 0, ['as a member'])])
      await sender.commit(standing, zombie)
      const group = newClient().group({ group: zombie.group, instanceId: undefined, sessionTimeoutMs: 10_000, rebalanceTimeoutMs: 10_000 })
      const { memberId, generation } = await group.join(zombie.memberId, [{ name: 'test', metadata: SUBSCRIPTION }])
      await group.sync({ ...zombie, memberId, generation }, new Map([[memberId, Buffer.alloc(0)]]))
      await sender.send([batchOf(topic, 0, ['as a zombie'])])
      await expect(sender.commit(standing, zombie)).rejects.toMatchObject({ code: 'MEMBER_LOST', reaction: 'lost' })
      await sender.abort()
      expect(await readAll(client, topic, 0)).toEqual(['as a member'])
    },
  },
  {
    name: 'a second init of a transactional id fences the first producer and aborts what it left open',
    async run({ client, newClient }) {
      const topic = await newTopic(client)
      const at = [{ topic, partition: 0 }]
      const member = await soleMember(client, uniqueName('group'))
      const id = uniqueName('tx')
      const old = await producer(client, id)
      await old.send([batchOf(topic, 0, ['old'])])
      const next = await producer(newClient(), id)
      await expect(old.commit([{ topic, partition: 0, offset: 1 }], member)).rejects.toMatchObject({
        code: 'PRODUCER_FENCED',
        reaction: 'reinit',
      })
      await expect(old.send([batchOf(topic, 0, ['old'])])).rejects.toMatchObject({ reaction: 'reinit' })
      await expect(old.abort()).rejects.toMatchObject({ reaction: 'reinit' })
      expect(await readAll(client, topic, 0)).toEqual([])
      expect(await client.committedOffsets(member.group, at)).toEqual([undefined])
      await next.send([batchOf(topic, 0, ['next'])])
      await next.commit([{ topic, partition: 0, offset: 2 }], member)

      await next.send([batchOf(topic, 0, ['aborted'])])
      await old.init()
      await expect(next.commit([], undefined)).rejects.toMatchObject({ reaction: 'reinit' })
      await old.send([batchOf(topic, 0, ['old again'])])
      await old.commit([], undefined)
      expect(await readAll(client, topic, 0)).toEqual(['next', 'old again'])
      expect(await client.committedOffsets(member.group, at)).toEqual([2])
    },
  },
  {
    name: 'after a send that was refused the producer is usable again once it has aborted',
    async run({ client }) {
      const topic = await newTopic(client, 2, { 'max.message.bytes': '1000' })
      // What is tried again is tried for as long as the transaction may be open.
      const sender = await producer(client, uniqueName('tx'), { transactionTimeoutMs: 2_000 })
      const good = sender.send([batchOf(topic, 0, ['good'])])
      const large = sender.send([batchOf(topic, 1, ['x'.repeat(2_000)])])
      await expect(large).rejects.toMatchObject({ code: 'RECORD_TOO_LARGE', reaction: 'abort', retryable: false })
      await good
      await expect(sender.send([batchOf(topic, 0, ['after'])])).rejects.toMatchObject({ reaction: 'abort' })
      await expect(sender.commit([], undefined)).rejects.toMatchObject({ reaction: 'abort' })
      expect(sender.pendingBytes).toBe(0)
      await sender.abort()
      await sender.send([batchOf(topic, 1, ['fits'])])
      await sender.commit([], undefined)
      await expect(sender.send([batchOf(uniqueName('missing'), 0, ['lost'])])).rejects.toMatchObject({
        code: 'MISSING_TOPIC',
        reaction: 'abort',
      })
      await sender.abort()
      await sender.send([batchOf(topic, 1, ['and again'])])
      await sender.commit([], undefined)
      expect([await readAll(client, topic, 0), await readAll(client, topic, 1)]).toEqual([[], ['fits', 'and again']])
    },
  },
]
