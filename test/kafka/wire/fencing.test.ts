import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import type { LogClient } from '../../../src/log/port.js'
import { silentLogger } from '../../../src/record/logger.js'
import { startKafka, type KafkaServer } from '../../support/kafka/broker.js'
import { until } from '../../support/until.js'
import { SUBSCRIPTION, batchOf, client, producer, readAll, soleMember, uniqueName } from './support.js'

describe.each([2, 0] as const)('fencing, transaction.version %i', (transactionVersion) => {
  let server: KafkaServer | undefined
  let log: LogClient
  let topic: string

  beforeAll(async () => {
    if (transactionVersion === 0) server = await startKafka({ transactionVersion })
    log = client(server?.brokers ?? inject('kafkaBrokers'))
    topic = uniqueName('fencing')
    await log.createTopics([{ topic, partitions: 4 }])
  })
  afterAll(async () => {
    await log.close()
    await server?.stop()
  })

  it('says which transaction protocol the brokers speak', async () => {
    expect((await log.connect()).transactionProtocol).toBe(transactionVersion === 2 ? 2 : 1)
  })

  it('refuses the commit of a member whose generation is over; after abort() the producer goes on', async () => {
    const name = uniqueName('group')
    const zombie = await soleMember(log, name)
    const group = log.group({ group: name, instanceId: undefined, sessionTimeoutMs: 10_000, rebalanceTimeoutMs: 10_000 })
    const { memberId, generation } = await group.join(zombie.memberId, [{ name: 'test', metadata: SUBSCRIPTION }])
    const member = { ...zombie, memberId, generation }
    await group.sync(member, new Map([[memberId, Buffer.alloc(0)]]))
    expect(generation).toBe(zombie.generation + 1)

    const sender = await producer(log, uniqueName('tx'))
    await sender.send([batchOf(topic, 0, ['zombie'])])
    await expect(sender.commit([{ topic, partition: 0, offset: 5 }], zombie)).rejects.toMatchObject({
      code: 'MEMBER_LOST',
      reaction: 'lost',
    })
    await expect(sender.commit([], undefined)).rejects.toMatchObject({ reaction: 'lost' })
    await sender.abort()
    await sender.send([batchOf(topic, 0, ['member'])])
    await sender.commit([{ topic, partition: 0, offset: 6 }], member)
    expect(await log.committedOffsets(name, [{ topic, partition: 0 }])).toEqual([6])
    expect(await readAll(log, topic, 0)).toEqual(['member'])
  })

  it('refuses the commit of a member the coordinator does not know', async () => {
    const member = await soleMember(log, uniqueName('group'))
    const sender = await producer(log, uniqueName('tx'))
    const commit = sender.commit([{ topic, partition: 0, offset: 5 }], { ...member, memberId: 'nobody' })
    await expect(commit).rejects.toMatchObject({ code: 'MEMBER_LOST', reaction: 'lost' })
  })

  it('waits with committed offsets until the transaction that moves them has ended', async () => {
    const member = await soleMember(log, uniqueName('group'))
    const id = uniqueName('tx')
    const dying = await producer(log, id, {
      transactionTimeoutMs: 20_000,
      // The process stops between the offsets and the commit.
      trace: ({ step }) => step === 'offsets-acknowledged' && void dying.close(),
    })
    await expect(dying.commit([{ topic, partition: 1, offset: 9 }], member)).rejects.toMatchObject({ code: 'CLOSED' })
    let settled = false
    let tries = 0
    const patient = client(server?.brokers ?? inject('kafkaBrokers'), {
      logger: { ...silentLogger, debug: (_, message) => void (message === 'trying again' && tries++) },
    })
    const reading = patient.committedOffsets(member.group, [{ topic, partition: 1 }]).finally(() => (settled = true))
    await until(() => tries >= 3)
    expect(settled).toBe(false)
    await producer(log, id)
    expect(await reading).toEqual([undefined])
    await patient.close()
  })

  it('a producer whose id was taken over has to initialise again, and then fences the other', async () => {
    const id = uniqueName('tx')
    const old = await producer(log, id)
    await old.send([batchOf(topic, 2, ['old'])])
    const next = await producer(log, id)
    await next.send([batchOf(topic, 2, ['next'])])
    await expect(old.commit([], undefined)).rejects.toMatchObject({ reaction: 'reinit' })
    await expect(old.abort()).rejects.toMatchObject({ reaction: 'reinit' })
    await expect(old.send([batchOf(topic, 2, ['x'])])).rejects.toMatchObject({ reaction: 'reinit' })
    await next.commit([], undefined)
    await old.init()
    await expect(next.send([batchOf(topic, 2, ['x'])]).then(() => next.commit([], undefined))).rejects.toMatchObject({ reaction: 'reinit' })
    await old.send([batchOf(topic, 2, ['old again'])])
    await old.commit([], undefined)
    expect(await readAll(log, topic, 2)).toEqual(['next', 'old again'])
  })

  it('a transaction open for longer than its timeout is over; init() starts anew', async () => {
    const sender = await producer(log, uniqueName('tx'), { transactionTimeoutMs: 1_000 })
    await sender.send([batchOf(topic, 3, ['late'])])
    expect(await readAll(log, topic, 3)).toEqual([])
    await expect(sender.commit([], undefined)).rejects.toMatchObject({ reaction: 'reinit' })
    await sender.init()
    await sender.send([batchOf(topic, 3, ['kept'])])
    await sender.commit([], undefined)
    expect(await readAll(log, topic, 3)).toEqual(['kept'])
  })

  it('commits nothing where nothing was sent, aborts nothing where nothing is open', async () => {
    const steps: string[] = []
    const sender = await producer(log, uniqueName('tx'), { trace: ({ step }) => steps.push(step) })
    await sender.commit([], undefined)
    await sender.abort()
    await sender.send([])
    await sender.commit([], undefined)
    expect(steps).toEqual([])
  })

  it('the offsets alone make a transaction too', async () => {
    const member = await soleMember(log, uniqueName('group'))
    const sender = await producer(log, uniqueName('tx'))
    for (let offset = 1; offset <= 3; offset++) await sender.commit([{ topic, partition: 0, offset }], member)
    expect(
      await log.committedOffsets(member.group, [
        { topic, partition: 0 },
        { topic, partition: 1 },
      ]),
    ).toEqual([3, undefined])
  })

  it('without a transactional id, outputs are in the log before the offsets are committed', async () => {
    const member = await soleMember(log, uniqueName('group'))
    const steps: string[] = []
    const own = uniqueName('plain')
    await log.createTopics([{ topic: own, partitions: 1 }])
    const sender = await producer(log, undefined, { trace: ({ step }) => steps.push(step) })
    const sent = sender.send([batchOf(own, 0, ['a'])])
    await sender.commit([{ topic: own, partition: 0, offset: 1 }], member)
    await sent
    expect(steps).toEqual(['produce-sent', 'produce-acknowledged', 'offsets-sent', 'offsets-acknowledged'])
    expect(await readAll(log, own, 0)).toEqual(['a'])
    expect(await log.committedOffsets(member.group, [{ topic: own, partition: 0 }])).toEqual([1])
    await expect(sender.commit([{ topic: own, partition: 0, offset: 2 }], { ...member, generation: 0 })).rejects.toMatchObject({
      reaction: 'lost',
    })
    await sender.abort()
    await sender.send([batchOf(own, 0, ['b'])])
    expect(await readAll(log, own, 0)).toEqual(['a', 'b'])
  })
})
