import { expect } from 'vitest'
import type { ContractCase } from './case.js'
import { batchOf, newTopic, producer, readAll, soleMember, uniqueName } from './support.js'

/** Committed offsets, and the outputs they belong to. */
export const offsetCommits: readonly ContractCase[] = [
  {
    name: 'offsets commit with the outputs and not without them',
    async run({ client, newClient }) {
      const topic = await newTopic(client, 2, { 'max.message.bytes': '1000' })
      const member = await soleMember(client, uniqueName('group'))
      const id = uniqueName('tx')
      const sender = await producer(client, id)
      const at = [0, 1].map((partition) => ({ topic, partition }))
      const state = async (): Promise<unknown> => ({
        outputs: await readAll(client, topic, 0),
        offsets: await newClient().committedOffsets(member.group, at),
      })
      expect(await state()).toEqual({ outputs: [], offsets: [undefined, undefined] })

      const sent = sender.send([batchOf(topic, 0, ['a'])])
      await sender.commit([{ topic, partition: 0, offset: 3 }], member)
      await sent
      const committed = { outputs: ['a'], offsets: [3, undefined] }
      expect(await state()).toEqual(committed)

      await sender.send([batchOf(topic, 0, ['aborted'])])
      await sender.abort()
      expect(await state()).toEqual(committed)

      const tooLarge = sender.send([batchOf(topic, 0, ['x'.repeat(2_000)])]).catch((error: unknown) => error)
      await expect(sender.commit([{ topic, partition: 0, offset: 4 }], member)).rejects.toMatchObject({ reaction: 'abort' })
      expect(await tooLarge).toMatchObject({ code: 'RECORD_TOO_LARGE' })
      await sender.abort()
      expect(await state()).toEqual(committed)

      const dying = await producer(newClient(), id, {
        // The process stops between the offsets and the commit.
        trace: ({ step }) => step === 'offsets-acknowledged' && void dying.close(),
      })
      await dying.send([batchOf(topic, 0, ['dying'])])
      await expect(
        dying.commit(
          [
            { topic, partition: 0, offset: 5 },
            { topic, partition: 1, offset: 5 },
          ],
          member,
        ),
      ).rejects.toMatchObject({ code: 'CLOSED' })
      await sender.init()
      expect(await state()).toEqual(committed)

      await sender.commit([{ topic, partition: 1, offset: 7 }], member)
      expect(await state()).toEqual({ outputs: ['a'], offsets: [3, 7] })
    },
  },
  {
    name: 'committedOffsets waits for the transaction that is about to move them',
    async run({ client, newClient }) {
      const topic = await newTopic(client, 2)
      const at = { topic, partition: 0 }
      const member = await soleMember(client, uniqueName('group'))
      const other = newClient()
      const committed = (): Promise<readonly (number | undefined)[]> => other.committedOffsets(member.group, [at])
      let midway: Promise<readonly (number | undefined)[]> | undefined
      const sender = await producer(client, uniqueName('tx'), {
        trace: ({ step }) => {
          if (step === 'offsets-acknowledged') midway = committed()
        },
      })
      for (let offset = 1; offset <= 5; offset++) {
        await sender.commit([{ ...at, offset }], member)
        expect(await committed()).toEqual([offset])
        expect(await midway).toEqual([offset])
      }

      const id = uniqueName('tx')
      const dying = await producer(client, id, { trace: ({ step }) => step === 'offsets-acknowledged' && void dying.close() })
      await expect(dying.commit([{ ...at, offset: 9 }], member)).rejects.toMatchObject({ code: 'CLOSED' })
      let settled = false
      const waiting = committed().finally(() => (settled = true))
      // Offsets that nobody is about to move are answered meanwhile.
      for (let i = 0; i < 3; i++) expect(await other.committedOffsets(member.group, [{ topic, partition: 1 }])).toEqual([undefined])
      expect(settled).toBe(false)
      await producer(client, id)
      expect(await waiting).toEqual([5])
    },
  },
  {
    name: 'a committed position keeps the text that was committed with it, in a transaction and without one',
    async run({ client, newClient }) {
      const topic = await newTopic(client)
      const at = { topic, partition: 0 }
      const member = await soleMember(client, uniqueName('group'))
      const committed = (): Promise<unknown> => newClient().committedPositions(member.group, [at])
      for (const id of [uniqueName('tx'), undefined]) {
        const sender = await producer(client, id)
        await sender.commit([{ ...at, offset: 3, metadata: 'a text' }], member)
        expect(await committed()).toEqual([{ ...at, offset: 3, metadata: 'a text' }])
        // Of one without, none is stored: not that of before either.
        await sender.commit([{ ...at, offset: 4 }], member)
        expect(await committed()).toEqual([{ ...at, offset: 4 }])
      }
    },
  },
  {
    name: 'without a transactional id, outputs are visible at once and offsets are committed after them',
    async run({ client }) {
      const topic = await newTopic(client)
      const at = [{ topic, partition: 0 }]
      const member = await soleMember(client, uniqueName('group'))
      const steps: string[] = []
      const sender = await producer(client, undefined, { trace: ({ step }) => steps.push(step) })
      await sender.send([batchOf(topic, 0, ['a'])])
      expect(await readAll(client, topic, 0)).toEqual(['a'])
      expect(await client.committedOffsets(member.group, at)).toEqual([undefined])
      const sent = sender.send([batchOf(topic, 0, ['b'])])
      await sender.commit([{ topic, partition: 0, offset: 2 }], member)
      await sent
      expect(steps).toEqual([
        'produce-sent',
        'produce-acknowledged',
        'produce-sent',
        'produce-acknowledged',
        'offsets-sent',
        'offsets-acknowledged',
      ])
      expect(await readAll(client, topic, 0)).toEqual(['a', 'b'])
      expect(await client.committedOffsets(member.group, at)).toEqual([2])

      await expect(
        sender.commit([{ topic, partition: 0, offset: 9 }], { ...member, generation: member.generation - 1 }),
      ).rejects.toMatchObject({ reaction: 'lost' })
      expect(await client.committedOffsets(member.group, at)).toEqual([2])
      await sender.abort()
      await sender.send([batchOf(topic, 0, ['c'])])
      expect(await readAll(client, topic, 0)).toEqual(['a', 'b', 'c'])
    },
  },
]
