import { lastValueFrom, takeWhile, toArray } from 'rxjs'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import {
  embedded,
  joinTable,
  redrive,
  silentLogger,
  table,
  toTopic,
  withTransaction,
  type Cluster,
  type Commit,
  type SourceOptions,
} from '../../src/index.js'
import { string } from '../../src/record/serde.js'
import { createEmbeddedBroker, type EmbeddedBroker } from '../../src/testing/index.js'
import { letter } from '../support/letters.js'
import { contents, values } from '../support/pipelines.js'
import { until } from '../support/until.js'

describe('an unclean election: the log parts from what was read of it', () => {
  let broker: EmbeddedBroker
  let cluster: Cluster
  let told: object[]

  beforeEach(async () => {
    broker = createEmbeddedBroker()
    told = []
    const warn = (about: object): void => void ('onOutOfRange' in about && told.push(about))
    cluster = embedded({ broker, logger: { ...silentLogger, warn } })
    await cluster.createTopics(['in', 'out', 'dead'].map((topic) => ({ topic, partitions: 1 })))
  })
  afterEach(() => cluster.close())

  const write = (...written: string[]): Promise<number> =>
    cluster.produce({ topic: 'in', records: written.map((value) => ({ key: value, value })) })
  /** The leader is lost; the new one has only what lies before `offset`, and is written to. */
  const elect = async (offset: number, ...written: string[]): Promise<void> => {
    broker.electUncleanly({ topic: 'in', partition: 0, offset })
    await write(...written)
  }
  const copy = (records: number, options: Partial<SourceOptions> = {}): Promise<Commit[]> => {
    let read = 0
    return lastValueFrom(
      cluster.source({ group: 'g', topics: ['in'], ...options }).pipe(
        withTransaction((stream) => stream.pipe(toTopic({ topic: 'out' })), { every: 10 }),
        takeWhile((commit) => (read += commit.records) < records, true),
        toArray(),
      ),
    )
  }
  const out = async (): Promise<(string | null)[]> => (await contents(cluster, 'out')).map(({ value }) => value)
  /** One record a batch, so that a leader may lack any of them. */
  const writeEach = async (...written: string[]): Promise<void> => {
    for (const value of written) await write(value)
  }

  it.each([
    ['behind what is left', ['x']],
    ['within what was written since', ['x', 'y', 'z', 'u', 'v']],
  ])('while the member was down, its position %s: it stops when it comes back, and says what is lost', async (_where, since) => {
    await writeEach('a', 'b', 'c', 'd', 'e')
    await copy(5)
    await elect(2, ...since)
    await expect(copy(1)).rejects.toMatchObject({
      code: 'OFFSET_OUT_OF_RANGE',
      origin: { topic: 'in', partition: 0, offset: 5 },
      message: expect.stringMatching(
        /in\/0 was read up to offset 5 \(leader epoch 0\).*at offset 2 or before, where its leader epoch 0 ends/,
      ),
    })
    // Again and again, until somebody has decided.
    await expect(copy(1)).rejects.toMatchObject({ code: 'OFFSET_OUT_OF_RANGE' })
    expect(await out()).toEqual(['a', 'b', 'c', 'd', 'e'])
  })

  it("'earliest' goes on where the two part, and reads nothing twice that both have", async () => {
    await writeEach('a', 'b', 'c', 'd', 'e')
    await copy(5)
    await elect(2, 'x', 'y', 'z', 'u')
    await copy(4, { onOutOfRange: 'earliest' })
    expect(await out()).toEqual(['a', 'b', 'c', 'd', 'e', 'x', 'y', 'z', 'u'])
    expect(told).toEqual([{ origin: { topic: 'in', partition: 0, offset: 5 }, offset: 2, onOutOfRange: 'earliest' }])
    // It is committed in the time of the new leader.
    await write('later')
    await copy(1)
    expect((await out()).at(-1)).toBe('later')
  })

  it("'latest' goes on at the end, also where that is the offset it stood at", async () => {
    await writeEach('a', 'b', 'c')
    await copy(3)
    await elect(1, 'x', 'y')
    const later = until(() => told.length > 0).then(() => write('later'))
    await Promise.all([copy(1, { onOutOfRange: 'latest' }), later])
    expect(await out()).toEqual(['a', 'b', 'c', 'later'])
    expect(told).toEqual([{ origin: { topic: 'in', partition: 0, offset: 3 }, offset: 3, onOutOfRange: 'latest' }])
    await write('next')
    await copy(1)
    expect(told).toHaveLength(1)
  })

  it('of a leader of which nothing is left, it is not known what else is lost: all is read again', async () => {
    await writeEach('a', 'b')
    await elect(2, 'c')
    await copy(3)
    // The second leader was elected with more of the first than the third has.
    await elect(1, 'x', 'y', 'z')
    await copy(4, { onOutOfRange: 'earliest' })
    expect(await out()).toEqual(['a', 'b', 'c', 'a', 'x', 'y', 'z'])
  })

  it('a member that runs goes on where the two part, also over leaders of which nothing is left: it has seen them begin', async () => {
    await writeEach('a', 'b')
    const running = copy(6, { onOutOfRange: 'earliest' })
    await until(async () => (await out()).length === 2)
    broker.electUncleanly({ topic: 'in', partition: 0, offset: 2 })
    await write('c')
    await until(async () => (await out()).length === 3)
    await elect(1, 'x', 'y', 'z')
    await running
    expect(await out()).toEqual(['a', 'b', 'c', 'x', 'y', 'z'])
  })

  it('a table that is followed is read again, and holds what its topic holds', async () => {
    await cluster.createTopics([{ topic: 'rows', partitions: 1 }])
    for (const value of ['old', 'lost']) await cluster.produce({ topic: 'rows', records: [{ key: 'k', value }] })
    const view = table({ topic: 'rows', value: string() })
    let commits = 0
    const running = lastValueFrom(
      cluster.source({ group: 'g', topics: ['in'] }).pipe(
        withTransaction(
          (records) => records.pipe(joinTable(view, { join: ({ value }, row) => `${String(value)} ${row}` }), toTopic({ topic: 'out' })),
          { every: 10 },
        ),
        takeWhile(() => ++commits < 2, true),
      ),
    )
    await cluster.produce({ topic: 'in', records: [{ key: 'k', value: 'sees' }] })
    await until(async () => (await out()).length === 1)
    // Between two looks at it the log grows past where the table stands: its offsets tell nothing.
    broker.pause('rows')
    broker.electUncleanly({ topic: 'rows', partition: 0, offset: 1 })
    for (const value of ['x', 'y']) await cluster.produce({ topic: 'rows', records: [{ key: 'other', value }] })
    broker.resume('rows')
    await cluster.produce({ topic: 'in', records: [{ key: 'k', value: 'sees' }] })
    await running
    expect(await out()).toEqual(['sees lost', 'sees old'])
  })

  describe('redrive of a topic that lost letters', () => {
    const dead = async (...written: string[]): Promise<void> => {
      for (const value of written) await cluster.produce({ topic: 'dead', records: [letter(value)] })
    }

    it('does not take the letters that came into their place for sent, and says what to do', async () => {
      await dead('a', 'b', 'c')
      expect(await redrive(cluster, { from: 'dead' })).toMatchObject({ sent: 3 })
      broker.electUncleanly({ topic: 'dead', partition: 0, offset: 1 })
      await dead('x', 'y', 'z')
      for (const dryRun of [true, false])
        await expect(redrive(cluster, { from: 'dead', dryRun })).rejects.toMatchObject({
          code: 'STATE_MISMATCH',
          message: expect.stringMatching(/'dead' no longer holds.*up to offset 3.*dead\.redrive-redriven-changelog/),
        })
      expect(await redrive(cluster, { from: 'dead', group: 'anew' })).toMatchObject({ sent: 4 })
      expect(await values(cluster, 'in')).toEqual(['a', 'a', 'b', 'c', 'x', 'y', 'z'])
    })
  })
})
