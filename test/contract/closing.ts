import { expect } from 'vitest'
import { until } from '../support/until.js'
import type { ContractCase } from './case.js'
import { SUBSCRIPTION, batchOf, newTopic, producer, soleMember, uniqueName } from './support.js'

export const closing: readonly ContractCase[] = [
  {
    name: 'closing the client rejects what waits with CLOSED, and all that comes after',
    async run({ client, newClient }) {
      const other = newClient()
      const topic = await newTopic(other)
      const at = [{ topic, partition: 0 }]
      const member = await soleMember(other, uniqueName('group'))
      const dying = await producer(other, uniqueName('tx'), { trace: ({ step }) => step === 'offsets-acknowledged' && void dying.close() })
      await expect(dying.commit([{ topic, partition: 0, offset: 1 }], member)).rejects.toMatchObject({ code: 'CLOSED' })

      const sender = await producer(client, uniqueName('tx'))
      await sender.send([batchOf(topic, 0, ['open'])])
      const group = client.group({ group: member.group, instanceId: undefined, sessionTimeoutMs: 10_000, rebalanceTimeoutMs: 10_000 })
      const waiting = Promise.allSettled([
        group.join('', [{ name: 'test', metadata: SUBSCRIPTION }]),
        client.committedOffsets(member.group, at),
      ])
      const watching = other.group({ group: member.group, instanceId: undefined, sessionTimeoutMs: 10_000, rebalanceTimeoutMs: 10_000 })
      await until(
        () =>
          watching.heartbeat(member).then(
            () => false,
            () => true,
          ),
        { what: 'the join to reach the coordinator' },
      )
      await client.close()
      const closed = { code: 'CLOSED', reaction: 'fatal' }
      expect(await waiting).toMatchObject([
        { status: 'rejected', reason: closed },
        { status: 'rejected', reason: closed },
      ])
      await expect(sender.send([batchOf(topic, 0, ['late'])])).rejects.toMatchObject(closed)
      await expect(sender.commit([], undefined)).rejects.toMatchObject(closed)
      await expect(client.topics([topic])).rejects.toMatchObject(closed)
      await expect(client.offsets(at, 'latest')).rejects.toMatchObject(closed)
      await expect(client.connect()).rejects.toMatchObject(closed)
      expect(await other.offsets(at, 'earliest')).toEqual([0])
    },
  },
]
