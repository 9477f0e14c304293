import { afterEach, beforeEach, describe, expect, inject, it } from 'vitest'
import { Reader } from '../../../src/kafka/protocol/reader.js'
import type { LogClient, LogReader } from '../../../src/log/port.js'
import { until } from '../../support/until.js'
import { Proxy, type ProxiedRequest } from '../../support/kafka/proxy.js'
import { batchOf, client, drain, producer, soleMember, uniqueName } from './support.js'

const FETCH = 1
/** A fetch that may be held back for longer is a poll. */
const LONG_POLL_MS = 100

const isFetch = ({ apiKey }: ProxiedRequest): boolean => apiKey === FETCH
/** The end of the header and the replica id stand before it. */
const isLongPoll = (request: ProxiedRequest): boolean => isFetch(request) && request.body.readInt32BE(5) >= LONG_POLL_MS

/** What is fetched in each session. */
class Sessions {
  /** Partitions of the last long poll. */
  polled = 0
  /** A reader has one session a connection. */
  private readonly members = new WeakMap<object, Set<string>>()

  readonly decide = (request: ProxiedRequest): 'pass' => {
    if (isFetch(request)) this.see(request)
    return 'pass'
  }

  private see(request: ProxiedRequest): void {
    const reader = new Reader(request.body)
    // The end of the header, the replica, wait, bytes, isolation.
    reader.pos = 18
    reader.int32()
    const epoch = reader.int32()
    const named = this.partitions(reader, () => (reader.pos += 29))
    const forgotten = this.partitions(reader, () => {})
    const { connection } = request
    const members = (epoch > 0 ? this.members.get(connection) : undefined) ?? new Set<string>()
    this.members.set(connection, members)
    for (const name of named) members.add(name)
    for (const name of forgotten) members.delete(name)
    if (isLongPoll(request)) this.polled = members.size
  }

  private partitions(reader: Reader, skip: () => void): string[] {
    const topics = reader.compactArray(() => {
      const topic = reader.compactString()
      const names = reader.compactArray(() => {
        const name = `${topic}/${reader.int32()}`
        skip()
        return name
      })
      reader.tags()
      return names
    })
    return topics.flat()
  }
}

describe('fetching ahead', () => {
  let proxy: Proxy
  let log: LogClient
  let direct: LogClient
  let topic: string
  let sessions: Sessions

  beforeEach(async () => {
    const [broker = ''] = inject('kafkaBrokers')
    proxy = await Proxy.start(broker)
    sessions = new Sessions()
    proxy.decide = sessions.decide
    log = client([proxy.address])
    direct = client([broker])
    topic = uniqueName('ahead')
    await direct.createTopics([{ topic, partitions: 8 }])
  })
  afterEach(async () => {
    await log.close()
    await direct.close()
    await proxy.stop()
  })

  const write = async (partition: number, ...batches: string[][]): Promise<void> => {
    const sender = await producer(direct, undefined)
    for (const values of batches) await sender.send([batchOf(topic, partition, values)])
    await sender.close()
  }
  const reading = (prefetchBytes: number, onData: (reader: LogReader) => void = () => {}): LogReader => {
    const reader: LogReader = log.reader({ isolation: 'read_committed', prefetchBytes, onData: () => onData(reader) })
    return reader
  }
  const at = (...partitions: number[]): { topic: string; partition: number; offset: number }[] =>
    partitions.map((partition) => ({ topic, partition, offset: 0 }))

  it('partitions added one by one do not wait for a poll that has nothing to give', async () => {
    const seen: string[][] = Array.from({ length: 8 }, () => [])
    const reader = reading(100_000, (reader) => seen.forEach((values, partition) => drain(reader, topic, partition, values)))
    for (let partition = 1; partition < 8; partition++) await write(partition, [`in ${partition}`])
    reader.assign(at(0))
    await until(() => reader.end(topic, 0) === 0)
    // From here on the broker answers no long poll at all.
    proxy.decide = (request) => (isLongPoll(request) ? 'hold' : 'pass')
    await until(() => proxy.holding > 0)
    for (let partition = 1; partition < 8; partition++) {
      reader.assign(
        at(...Array.from({ length: partition + 1 }, (_, i) => i)).map((each) => ({ ...each, offset: seen[each.partition]?.length ?? 0 })),
      )
      await until(() => seen[partition]?.length === 1, { what: `partition ${partition}` })
    }
    await write(5, ['later'])
    await until(() => seen[5]?.[1] === 'later')
    reader.close()
  })

  it('another position of a partition does not wait for the poll at the one before', async () => {
    await write(0, ['a', 'b'])
    const seen: string[] = []
    const reader = reading(100_000, (reader) => drain(reader, topic, 0, seen))
    reader.assign([{ topic, partition: 0, offset: 2 }])
    await until(() => reader.end(topic, 0) === 2)
    proxy.decide = (request) => (isLongPoll(request) ? 'hold' : 'pass')
    await until(() => proxy.holding > 0)
    for (let times = 0; times < 3; times++) {
      reader.assign(at(0))
      await until(() => seen.length === 2)
      seen.length = 0
      reader.assign([{ topic, partition: 0, offset: 2 }])
    }
    reader.close()
  })

  it('tells at once where a partition without data ends', async () => {
    proxy.decide = (request) => (isLongPoll(request) ? 'hold' : 'pass')
    const reader = reading(100_000)
    reader.assign(at(0, 1))
    await until(() => reader.end(topic, 0) === 0 && reader.end(topic, 1) === 0)
    reader.close()
  })

  it('partitions apart come together again in one request', async () => {
    const reader = reading(100_000)
    reader.assign(at(0))
    await until(() => reader.end(topic, 0) === 0)
    reader.assign(at(0, 1))
    await until(() => reader.end(topic, 1) === 0)
    await until(() => sessions.polled === 2)
    reader.close()
  })

  it('a fetch names what is new of its session, and its answer what there is news of; a session that is lost is begun again', async () => {
    const names = [0, 1, 2, 3].map((i) => `${topic}-${i}`)
    await direct.createTopics(names.map((name) => ({ topic: name, partitions: 100 })))
    const all = names.flatMap((name) => Array.from({ length: 100 }, (_, partition) => ({ topic: name, partition, offset: 0 })))
    const busy = names[2] as string
    const seen: string[] = []
    const reader = reading(1_000_000, (reader) => drain(reader, busy, 7, seen))
    reader.assign(all)
    await until(() => all.every(({ topic, partition }) => reader.end(topic, partition) === 0) && sessions.polled === 400)
    let [requests, largest, answers] = [0, 0, 0]
    const sessionless = sessions.decide
    proxy.decide = (request) => {
      if (isFetch(request)) [requests, largest] = [requests + 1, Math.max(largest, request.body.length)]
      return sessionless(request)
    }
    proxy.answered = (apiKey, { length }) => {
      if (apiKey === FETCH) answers = Math.max(answers, length)
    }
    const sender = await producer(direct, undefined)
    for (let i = 0; i < 20; i++) {
      await sender.send([batchOf(busy, 7, [`${i}`])])
      await until(() => seen.length === i + 1)
    }
    await until(() => sessions.polled === 400)
    // 400 partitions take 10 kB in a request, and 20 kB in an answer.
    expect([largest < 300, answers < 500]).toEqual([true, true])
    expect(requests).toBeGreaterThanOrEqual(20)
    // An answer that is lost, and a connection with it.
    let lost = 0
    proxy.decide = (request) => (isFetch(request) && lost++ === 0 ? 'lose answer' : sessionless(request))
    for (let i = 20; i < 30; i++) {
      await sender.send([batchOf(busy, 7, [`${i}`])])
      await until(() => seen.length === i + 1)
    }
    expect(seen).toEqual(Array.from({ length: 30 }, (_, i) => `${i}`))
    // Paused: others are read meanwhile, and it goes on where it was.
    reader.assign(all.filter(({ topic }) => topic !== busy))
    await sender.send([batchOf(busy, 7, ['paused'])])
    await until(() => sessions.polled === 300)
    expect(seen).toHaveLength(30)
    reader.assign(all.map((at) => (at.topic === busy && at.partition === 7 ? { ...at, offset: 30 } : at)))
    await until(() => seen.at(-1) === 'paused')
    await sender.close()
    reader.close()
  })

  it('the next fetch is under way before the first records are taken', async () => {
    await write(0, ...Array.from({ length: 40 }, (_, i) => [`${i}`.padEnd(1_000)]))
    let fetches = 0
    const underWay: number[] = []
    proxy.decide = (request) => {
      if (isFetch(request)) fetches++
      return 'pass'
    }
    const reader = reading(20_000, () => underWay.push(fetches))
    reader.assign(at(0))
    await until(() => underWay.length > 0)
    const first = fetches
    await until(() => fetches > first || first > 1, { what: 'the second fetch, nothing having been taken' })
    const seen: string[] = []
    await until(() => {
      drain(reader, topic, 0, seen)
      return seen.length === 40
    })
    reader.close()
  })

  it('keeps to its bytes over all partitions, and what nobody takes keeps no other partition from being read', async () => {
    const BATCH = 10_000
    const PREFETCH = 200_000
    const value = 'x'.repeat(BATCH)
    for (let partition = 0; partition < 8; partition++) await write(partition, ...Array.from({ length: 60 }, () => [value]))
    let received = 0
    let open = 0
    proxy.decide = (request) => {
      if (isFetch(request)) open++
      return 'pass'
    }
    proxy.answered = (apiKey, { length }) => {
      if (apiKey !== FETCH) return
      open--
      received += length
    }
    const seen: string[][] = Array.from({ length: 8 }, () => [])
    const taken = new Set<number>()
    let most = 0
    const drainSome = (reader: LogReader): void => {
      most = Math.max(most, received - seen.flat().length * BATCH)
      for (const partition of taken) drain(reader, topic, partition, seen[partition] as string[])
    }
    const reader = reading(PREFETCH, drainSome)
    reader.assign(at(0, 1, 2, 3, 4, 5, 6, 7))
    await until(() => received > PREFETCH / 2 && open === 0, { what: 'nothing more to be fetched' })
    for (const partition of [7, 0, 1, 2, 3, 4, 5, 6]) {
      taken.add(partition)
      drainSome(reader)
      await until(() => seen[partition]?.length === 60, { what: `all of partition ${partition}, nothing of others having been taken` })
    }
    // Headers, answers without data, and one batch of each partition come on top.
    expect(most).toBeLessThan(PREFETCH + 8 * BATCH + received - 480 * BATCH)
    reader.close()
  })

  it('a poll without data holds up neither what is written, nor commits, nor heartbeats', async () => {
    const reader = reading(100_000)
    reader.assign(at(0))
    await until(() => reader.end(topic, 0) === 0)
    proxy.decide = (request) => (isFetch(request) ? 'hold' : 'pass')
    await until(() => proxy.holding > 0)
    const name = uniqueName('group')
    const member = await soleMember(log, name)
    const group = log.group({ group: name, instanceId: undefined, sessionTimeoutMs: 10_000, rebalanceTimeoutMs: 10_000 })
    const sender = await producer(log, uniqueName('tx'))
    await sender.send([batchOf(topic, 1, ['a'])])
    await Promise.all([sender.commit([{ topic, partition: 0, offset: 0 }], member), group.heartbeat(member)])
    expect(await log.committedOffsets(name, [{ topic, partition: 0 }])).toEqual([0])
    expect(proxy.heldKinds).toEqual(new Set([FETCH]))
    reader.close()
  })

  it('a log that no longer reaches to what was read of it: the broker says up to where it does', async () => {
    let version = 0
    proxy.decide = (request) => {
      if (isFetch(request)) version = request.version
      return 'pass'
    }
    await write(0, ['a'], ['b'], ['c'])
    const seen: string[] = []
    const errors: unknown[] = []
    const reader = reading(100_000, (reader) => {
      try {
        drain(reader, topic, 0, seen)
      } catch (error) {
        errors.push(error)
      }
    })
    reader.assign(at(0))
    await until(() => seen.length === 3)
    expect(version).toBe(12)
    await direct.deleteTopics([topic])
    await until(async () => (await direct.topics([topic])).size === 0)
    await direct.createTopics([{ topic, partitions: 1 }])
    await write(0, ['other'])
    await until(() => errors.length > 0)
    expect(errors[0]).toMatchObject({
      code: 'OFFSET_OUT_OF_RANGE',
      origin: { topic, partition: 0, offset: 3 },
      message: expect.stringMatching(/the log was truncated.* at offset [01] or before/),
    })
    expect(seen).toEqual(['a', 'b', 'c'])
    reader.close()
  })
})
