import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { FetchSession, type Wanted } from '../../../src/kafka/fetch-session.js'
import { Fetch, type FetchPartition, type FetchedPartition, type FetchRequest } from '../../../src/kafka/protocol/fetch.js'
import { encodeRequest } from '../../../src/kafka/protocol/request.js'
import type { KafkaReader } from '../../../src/kafka/reader.js'
import { BrokerSessions } from '../../support/fetch-sessions.js'
import { OneBroker, batchAt } from '../../support/one-broker.js'

const HEAD = { maxWaitMs: 500, maxBytes: 1_000, readCommitted: true }

function wanted(count: number): (Wanted & { fetchOffset: number })[] {
  return Array.from({ length: count }, (_, partition) => ({
    name: `t/${partition}`,
    topic: 't',
    partition,
    fetchOffset: 0,
    fetchEpoch: -1,
    leaderEpoch: 0,
    batchBytes: 0,
  }))
}

/** A session with a broker whose partitions have nothing to give but what `news` tells. */
function talk(sessions = new BrokerSessions()) {
  const session = new FetchSession()
  const news = new Map<number, Partial<FetchedPartition>>()
  const nothing = { error: 0, highWatermark: 0, lastStableOffset: 0, aborted: [], records: Buffer.alloc(0) }
  const answer = ({ topic, partition }: FetchPartition): FetchedPartition => ({ topic, partition, ...nothing, ...news.get(partition) })
  const kept = new Map<string, Wanted>()
  /** Has these fetched, and no others. */
  const ask = (partitions: readonly Wanted[]) => {
    const names = new Set(partitions.map(({ name }) => name))
    for (const [name, one] of kept) {
      if (names.has(name)) continue
      session.remove(one)
      kept.delete(name)
    }
    for (const given of partitions) {
      const one = Object.assign(kept.get(given.name) ?? {}, given)
      kept.set(given.name, one)
      session.put(one)
    }
    const request: FetchRequest = { ...HEAD, ...session.next(100, 0) }
    const bytes = encodeRequest(Fetch, request, 1, 'client').reduce((sum, part) => sum + part.length, 0)
    const named = request.partitions.map(({ partition }) => partition)
    const forgotten = request.forgotten.map(({ partition }) => partition)
    const answered = session.answered(request, sessions.answer(request, answer))
    return { bytes, named, forgotten, id: request.sessionId, epoch: request.sessionEpoch, told: answered?.map((of) => of.partition) }
  }
  return { session, sessions, ask, news }
}

describe('a fetch session', () => {
  it('of 5,000 partitions of which one has a record, a request names that one, and its bytes do not grow with the others', () => {
    const bytesOf = (count: number): readonly number[] => {
      const { ask, news } = talk()
      const partitions = wanted(count)
      const first = ask(partitions)
      expect([first.named.length, first.told?.length]).toEqual([count, count])
      const bytes: number[] = []
      for (let offset = 1; offset <= 3; offset++) {
        news.set(7, { records: batchAt(offset - 1), highWatermark: offset, lastStableOffset: offset })
        expect(ask(partitions)).toMatchObject({ told: [7] })
        news.set(7, { highWatermark: offset, lastStableOffset: offset })
        ;(partitions[7] as { fetchOffset: number }).fetchOffset = offset
        const next = ask(partitions)
        expect(next).toMatchObject({ named: [7], forgotten: [], told: [7] })
        bytes.push(next.bytes)
        bytes.push(ask(partitions).bytes)
      }
      return bytes
    }
    const few = bytesOf(10)
    expect(bytesOf(5_000)).toEqual(few)
    expect(Math.max(...few)).toBeLessThan(100)
  })

  it('names one again that somebody else wants, who has not heard where it ends', () => {
    const session = new FetchSession()
    const sessions = new BrokerSessions()
    const [before, after] = [wanted(1)[0], wanted(1)[0]] as [Wanted, Wanted]
    const ask = () => {
      const request = { ...HEAD, ...session.next(100, 0) }
      const nothing = { error: 0, highWatermark: 3, lastStableOffset: 3, aborted: [], records: Buffer.alloc(0) }
      return session.answered(
        request,
        sessions.answer(request, ({ topic, partition }) => ({ topic, partition, ...nothing })),
      )
    }
    session.put(before)
    ask()
    session.remove(before)
    session.put(after)
    expect(ask()).toMatchObject([{ partition: 0, lastStableOffset: 3 }])
    expect([before, after].map((one) => session.hasAsked(one))).toEqual([false, true])
    expect(ask()).toEqual([])
  })

  it('names what comes, changes and goes', () => {
    const { ask } = talk()
    const [a, b, c, d] = wanted(4) as [Wanted, Wanted, Wanted, Wanted]
    expect(ask([a, b, c])).toMatchObject({ id: 0, epoch: 0, named: [0, 1, 2], forgotten: [] })
    expect(ask([a, b, c])).toMatchObject({ id: 1, epoch: 1, named: [], forgotten: [], told: [] })
    expect(ask([c, d, { ...a, fetchOffset: 5 }])).toMatchObject({ epoch: 2, named: [3, 0], forgotten: [1] })
    expect(ask([a])).toMatchObject({ epoch: 3, named: [0], forgotten: [2, 3] })
    expect(ask([{ ...a, fetchEpoch: 2 }, b])).toMatchObject({ epoch: 4, named: [0, 1], forgotten: [] })
  })

  it('tells of what a request named also where the answer leaves it out, and of an error as often as there is one', () => {
    const { ask, news } = talk()
    const [a, b] = wanted(2) as [Wanted, Wanted]
    ask([a, b])
    expect(ask([{ ...a, fetchOffset: 1 }, b])).toMatchObject({ named: [0], told: [0] })
    news.set(1, { error: 6, highWatermark: -1 })
    for (let times = 0; times < 3; times++) expect(ask([{ ...a, fetchOffset: 1 }, b])).toMatchObject({ named: [], told: [1] })
    news.delete(1)
    expect(ask([{ ...a, fetchOffset: 1 }, b])).toMatchObject({ told: [1] })
    expect(ask([{ ...a, fetchOffset: 1 }, b])).toMatchObject({ told: [] })
    news.set(0, { diverging: { epoch: 1, endOffset: 0 } })
    for (let times = 0; times < 2; times++) expect(ask([{ ...a, fetchOffset: 1 }, b])).toMatchObject({ told: [0] })
  })

  it('that the broker does not know, or not as it is here, is begun again; one whose fate is unknown is given up', () => {
    const { session, sessions, ask } = talk()
    const all = wanted(3)
    ask(all)
    ask(all)
    sessions.forget()
    expect(ask(all)).toMatchObject({ id: 1, epoch: 2, told: undefined })
    expect(ask(all)).toMatchObject({ id: 0, epoch: 0, named: [0, 1, 2] })
    sessions.confuse()
    expect(ask(all)).toMatchObject({ id: 2, epoch: 1, told: undefined })
    // The one before is given up by its name.
    expect(ask(all)).toMatchObject({ id: 2, epoch: 0, named: [0, 1, 2], told: [0, 1, 2] })
    expect(ask(all)).toMatchObject({ id: 3, epoch: 1, named: [] })
    session.failed()
    expect(ask(all)).toMatchObject({ id: 3, epoch: 0, named: [0, 1, 2] })
  })

  it('a broker whose sessions are full is told all each time, until it has room', () => {
    const { sessions, ask } = talk()
    const all = wanted(3)
    sessions.most = 0
    for (let times = 0; times < 3; times++) expect(ask(all)).toMatchObject({ id: 0, epoch: 0, named: [0, 1, 2], told: [0, 1, 2] })
    sessions.most = 1
    ask(all)
    expect(ask(all)).toMatchObject({ id: 1, epoch: 1, named: [] })
  })
})

describe('the reader over fetch sessions', () => {
  beforeEach(() => void vi.useFakeTimers())
  afterEach(() => void vi.useRealTimers())

  const PARTITIONS = 40

  /** A log of so many partitions, read as it comes. */
  const reading = () => {
    const ends = Array.from({ length: PARTITIONS }, () => 0)
    const taken = ends.map((): number[] => [])
    const broker = new OneBroker((partition, offset) => {
      const end = ends[partition] as number
      return { bytes: offset < end ? batchAt(offset) : Buffer.alloc(0), end }
    })
    const reader = broker.reader((it: KafkaReader) => {
      for (const [partition, offsets] of taken.entries())
        for (let got = it.take('t', partition); got !== undefined; got = it.take('t', partition)) offsets.push(got.fromOffset)
    })
    const assign = (partitions: readonly number[]): void =>
      reader.assign(partitions.map((partition) => ({ topic: 't', partition, offset: taken[partition]?.length as number })))
    return { broker, reader, ends, taken, assign }
  }
  const all = Array.from({ length: PARTITIONS }, (_, partition) => partition)
  const upTo = (end: number): number[] => Array.from({ length: end }, (_, offset) => offset)

  it.each([
    ['that are kept', () => {}],
    ['that the broker forgets', (broker: OneBroker) => broker.sessions.forget()],
    ['of which requests are lost', (broker: OneBroker) => broker.sessions.confuse()],
    ['that there is no room for', (broker: OneBroker) => ((broker.sessions.most = 0), broker.sessions.forget())],
  ])('reads everything once and in order in sessions %s', async (_how, disturb) => {
    const { broker, reader, ends, taken, assign } = reading()
    assign(all)
    for (let round = 0; round < 30; round++) {
      ends[round] = (ends[round] as number) + 2
      ends[3] = (ends[3] as number) + 1
      if (round % 7 === 3) disturb(broker)
      await vi.advanceTimersByTimeAsync(40)
    }
    await vi.advanceTimersByTimeAsync(500)
    expect(taken).toEqual(ends.map(upTo))
    reader.close()
  })

  it('a partition is fetched where the assignment says, whatever came and went meanwhile; one taken out is forgotten', async () => {
    const { broker, reader, ends, taken, assign } = reading()
    assign(all)
    await vi.advanceTimersByTimeAsync(200)
    for (let round = 0; round < 12; round++) {
      const out = round % PARTITIONS
      ends[out] = (ends[out] as number) + 3
      ends[20] = (ends[20] as number) + 1
      assign(all.filter((partition) => partition !== out))
      await vi.advanceTimersByTimeAsync(100)
      expect(taken[out]).toEqual([])
      assign(all)
      await vi.advanceTimersByTimeAsync(100)
    }
    expect(taken).toEqual(ends.map(upTo))
    // Where it ends is told of a partition also where there is no news since it was taken out.
    assign(all.filter((partition) => partition !== 30))
    assign(all)
    await vi.advanceTimersByTimeAsync(100)
    expect(reader.end('t', 30)).toBe(0)
    reader.assign(all.map((partition) => ({ topic: 't', partition, offset: partition === 20 ? 2 : (ends[partition] as number) })))
    taken[20] = []
    await vi.advanceTimersByTimeAsync(100)
    expect(taken[20]).toEqual(upTo(12).slice(2))
    // An answer on its way to a fetch at another position is not one to the fetch from here.
    broker.answersAfterMs = 50
    await vi.advanceTimersByTimeAsync(600)
    taken[20] = []
    ends[20] = 15
    const at = (offset: number): void =>
      reader.assign(all.map((partition) => ({ topic: 't', partition, offset: partition === 20 ? offset : (ends[partition] as number) })))
    at(12)
    await vi.advanceTimersByTimeAsync(0)
    at(3)
    await vi.advanceTimersByTimeAsync(600)
    expect(taken[20]).toEqual(upTo(15).slice(3))
    const named = broker.requests.filter(({ sessionEpoch }) => sessionEpoch > 0).map(({ partitions }) => partitions.length)
    expect(Math.max(...named)).toBeLessThan(PARTITIONS)
    reader.close()
  })
})
