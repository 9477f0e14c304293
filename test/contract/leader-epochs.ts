import { lastValueFrom, takeWhile, type Observable } from 'rxjs'
import { expect } from 'vitest'
import { LogCluster } from '../../src/cluster/cluster.js'
import { toTopic, withTransaction, type Commit, type SourceOptions } from '../../src/index.js'
import type { LogClient, Position } from '../../src/log/port.js'
import { systemClock } from '../../src/record/clock.js'
import { silentLogger, type Logger } from '../../src/record/logger.js'
import { until } from '../support/until.js'
import type { ContractCase, ContractLog } from './case.js'
import { batchOf, newTopic, producer, readAll, soleMember, uniqueName } from './support.js'

/** Positions and the leader epochs of the records before them: how a log that was cut short while nobody read it is told. (KIP-320) */
export const leaderEpochs: readonly ContractCase[] = [
  {
    name: 'a committed position keeps the leader epoch that was committed with it, in a transaction and without one',
    async run({ client, newClient }) {
      const topic = await newTopic(client, 3)
      const member = await soleMember(client, uniqueName('group'))
      const positions = [
        { topic, partition: 0, offset: 3, leaderEpoch: 7 },
        { topic, partition: 1, offset: 4 },
      ]
      const committed = (): Promise<unknown> =>
        newClient().committedPositions(
          member.group,
          [2, 1, 0].map((partition) => ({ topic, partition })),
        )
      for (const id of [uniqueName('tx'), undefined]) {
        const sender = await producer(client, id)
        await sender.commit(positions, member)
        expect(await committed()).toEqual([undefined, positions[1], positions[0]])
        // Of one that is not known, none is stored: not that of before either.
        await sender.commit([{ topic, partition: 0, offset: 3, leaderEpoch: -1 }], member)
        expect(await committed()).toEqual([undefined, positions[1], { topic, partition: 0, offset: 3 }])
      }
    },
  },
  {
    name: 'what is read has the leader epoch of each position, and a pipeline commits it with its offsets',
    async run(log) {
      const { client } = log
      const topic = await newTopic(client)
      await write(client, topic, 'a', 'b')
      const epochs: [number, number][] = []
      const reader = client.reader({
        isolation: 'read_committed',
        prefetchBytes: 1_000,
        onData() {
          for (let got = reader.take(topic, 0); got !== undefined; got = reader.take(topic, 0)) epochs.push([got.fromEpoch, got.nextEpoch])
        },
      })
      reader.assign([{ topic, partition: 0, offset: 0 }])
      await until(() => epochs.length === 2)
      reader.close()
      const epoch = epochs[0]?.[1] as number
      expect(epoch).toBeGreaterThanOrEqual(0)
      expect(epochs).toEqual([
        [-1, epoch],
        [epoch, epoch],
      ])
      const group = uniqueName('group')
      await lastValueFrom(pipeline(log, { group, topics: [topic] }, await newTopic(client)).pipe(takeWhile(({ lag }) => lag > 0, true)))
      expect(await client.committedPositions(group, [{ topic, partition: 0 }])).toEqual([
        { topic, partition: 0, offset: 2, leaderEpoch: epoch },
      ])
    },
  },
  {
    name: 'a committed position that the log has not got as it was stops a pipeline, naming it, or it reads what is there',
    async run(log) {
      const { client } = log
      const topic = await newTopic(client)
      const output = await newTopic(client)
      await write(client, topic, '0', '1', '2')
      const leaderEpoch = await epochOf(client, topic)
      const at = { topic, partition: 0 }
      const told: object[] = []
      const readOn = async (position: Position, onOutOfRange?: 'earliest' | 'latest'): Promise<string[]> => {
        const group = await committedBy(client, position)
        const before = (await readAll(client, output, 0)).length
        const source = { group, topics: [topic], ...(onOutOfRange && { onOutOfRange }) }
        const done = lastValueFrom(pipeline(log, source, output, told).pipe(takeWhile(({ records }) => records === 0, true)))
        await done
        return (await readAll(client, output, 0)).slice(before)
      }
      // Read up to offset 5, of the leader whose records now end at 3.
      const beyond = { ...at, offset: 5, leaderEpoch }
      await expect(readOn(beyond)).rejects.toMatchObject({
        code: 'OFFSET_OUT_OF_RANGE',
        origin: { ...at, offset: 5 },
        message: expect.stringMatching(
          new RegExp(`${topic}/0 .* offset 5 \\(leader epoch ${leaderEpoch}\\).* truncated.* offset 3 .* leader epoch ${leaderEpoch} ends`),
        ),
      })
      // A position within the log, of a leader that it has never had.
      const elsewhere = { ...at, offset: 2, leaderEpoch: leaderEpoch + 5 }
      await expect(readOn(elsewhere)).rejects.toMatchObject({ code: 'OFFSET_OUT_OF_RANGE', origin: { ...at, offset: 2 } })
      // Without an epoch, as other programs commit, offsets alone count.
      expect(await readOn({ ...at, offset: 2 })).toEqual(['2'])
      expect(await readOn({ ...at, offset: 5 }, 'earliest')).toEqual(['0', '1', '2'])
      expect(await readOn(elsewhere, 'earliest')).toEqual(['0', '1', '2'])
      // There was no election since: the topic was made anew, and nothing of it was read.
      told.length = 0
      expect(await readOn(beyond, 'earliest')).toEqual(['0', '1', '2'])
      expect(told).toEqual([{ origin: { ...at, offset: 5 }, offset: 0, onOutOfRange: 'earliest' }])
    },
  },
]

function pipeline({ newClient }: ContractLog, source: SourceOptions, output: string, told: object[] = []): Observable<Commit> {
  const logger: Logger = { ...silentLogger, warn: (about: object) => void ('onOutOfRange' in about && told.push(about)) }
  return new LogCluster({ openLog: async () => newClient(), clock: systemClock, logger })
    .source(source)
    .pipe(withTransaction((stream) => stream.pipe(toTopic({ topic: output })), { every: 10 }))
}

async function write(client: LogClient, topic: string, ...values: string[]): Promise<void> {
  const sender = await producer(client, undefined)
  for (const value of values) await sender.send([batchOf(topic, 0, [value])])
  await sender.close()
}

async function epochOf(client: LogClient, topic: string): Promise<number> {
  const reader = client.reader({ isolation: 'read_committed', prefetchBytes: 1_000, onData: () => {} })
  reader.assign([{ topic, partition: 0, offset: 0 }])
  const { nextEpoch } = await until(() => reader.take(topic, 0))
  reader.close()
  return nextEpoch
}

/** A group that goes on at a position. */
async function committedBy(client: LogClient, position: Position): Promise<string> {
  const member = await soleMember(client, uniqueName('group'))
  await (await producer(client, uniqueName('tx'))).commit([position], member)
  const { group } = member
  await client.group({ group, instanceId: undefined, sessionTimeoutMs: 10_000, rebalanceTimeoutMs: 10_000 }).leave(member)
  return group
}
