import { lastValueFrom, takeWhile } from 'rxjs'
import { expect } from 'vitest'
import { LogCluster } from '../../src/cluster/cluster.js'
import { toTopic, withTransaction } from '../../src/index.js'
import { BatchWriter, type OutputBatch } from '../../src/log/batch/write.js'
import { systemClock } from '../../src/record/clock.js'
import { silentLogger } from '../../src/record/logger.js'
import type { ContractCase } from './case.js'
import { newTopic, producer, readPartition, uniqueName } from './support.js'

/** Else a broker takes no time that is an hour ahead. */
const ANY_TIME = { 'message.timestamp.after.max.ms': '9223372036854775807' }
const MILLISECONDS = 1_755_933_141_855
/** More than a number holds exactly. */
const NANOSECONDS = 1_755_933_141_855_875_072
const LARGEST = 2 ** 63 - 1024

/** Times that are none of milliseconds. */
export const timestamps: readonly ContractCase[] = [
  {
    name: 'a timestamp of nanoseconds is read as the nearest number, and written again; those of the records around it stay exact',
    async run({ client, newClient }) {
      const [topic, output] = [await newTopic(client, 1, ANY_TIME), await newTopic(client, 1, ANY_TIME)]
      const times = [MILLISECONDS, NANOSECONDS, MILLISECONDS + 1, LARGEST, MILLISECONDS + 2]
      const sender = await producer(client, undefined)
      // Alone in its batch, first in it, and behind others.
      for (const batch of [...times.map((time) => [time]), times.slice(1), times]) await sender.send(timed(topic, batch))
      const expected = [...times, ...times.slice(1), ...times]
      const seen = async (name: string): Promise<number[]> =>
        (await readPartition(client, name, 0)).records.map(({ timestamp }) => timestamp)
      expect(await seen(topic)).toEqual(expected)
      // Looking a time up has the broker answer with the time it found.
      expect(await client.offsets([{ topic, partition: 0 }], { timestamp: MILLISECONDS + 3 })).toEqual([1])
      let read = 0
      const cluster = new LogCluster({ openLog: async () => newClient(), clock: systemClock, logger: silentLogger })
      await lastValueFrom(
        cluster.source({ group: uniqueName('group'), topics: [topic] }).pipe(
          withTransaction((records) => records.pipe(toTopic({ topic: output })), { every: 10 }),
          takeWhile((commit) => (read += commit.records) < expected.length, true),
        ),
      )
      expect(await seen(output)).toEqual(expected)
    },
  },
]

function timed(topic: string, times: readonly number[]): OutputBatch[] {
  const writer = new BatchWriter(topic, 0, 1024 * 1024)
  for (const time of times) writer.append(null, `at ${time}`, {}, time)
  return writer.take(true)
}
