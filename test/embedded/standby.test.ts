import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import {
  aggregate,
  count,
  embedded,
  json,
  silentLogger,
  toTopic,
  withTransaction,
  type Cluster,
  type Commit,
  type Logger,
} from '../../src/index.js'
import { assignStandbys } from '../../src/runtime/group/standby-assignor.js'
import { createEmbeddedBroker, type EmbeddedBroker } from '../../src/testing/index.js'
import { contents } from '../support/pipelines.js'
import { until } from '../support/until.js'

const KEYS = 500
const PARTITIONS = 4

interface Member {
  readonly stop: AbortController
  readonly commits: Commit[]
  readonly ended: Promise<void>
  /** Records read by each restore. */
  readonly restores: number[]
}

describe('warm copies of state', () => {
  let broker: EmbeddedBroker
  let cluster: Cluster
  let members: Member[] = []

  beforeEach(async () => {
    broker = createEmbeddedBroker()
    cluster = embedded({ broker, logger: silentLogger })
    await cluster.createTopics([
      { topic: 'in', partitions: PARTITIONS },
      { topic: 'out', partitions: PARTITIONS },
    ])
  })

  afterEach(async () => {
    for (const { stop } of members) stop.abort()
    await Promise.all(members.map(({ ended }) => ended))
    members = []
    await cluster.close()
  })

  const start = (standbys: number): Member => {
    const stop = new AbortController()
    const restores: number[] = []
    const logger: Logger = {
      ...silentLogger,
      info: (details, message) => void (message === 'state restored' && restores.push((details as { records: number }).records)),
    }
    const commits: Commit[] = []
    const own = embedded({ broker, logger })
    const ended = new Promise<void>((resolve, reject) => {
      own
        .source({ group: 'g', topics: ['in'], standbys, sessionTimeout: '1500ms', signal: stop.signal })
        .pipe(
          withTransaction((records) => records.pipe(aggregate(count()), toTopic({ topic: 'out', value: json() })), {
            every: 10,
            provision: true,
          }),
        )
        .subscribe({ next: (commit) => commits.push(commit), error: reject, complete: resolve })
    })
    const member = { stop, commits, ended, restores }
    members.push(member)
    return member
  }

  const produce = (round: number): Promise<number> =>
    cluster.produce({ topic: 'in', records: Array.from({ length: KEYS }, (_, i) => ({ key: `k${i}`, value: String(round) })) })

  const counted = async (n: number): Promise<boolean> => {
    const last = new Map<string, number>()
    for (const { key, value } of await contents(cluster, 'out')) last.set(key as string, Number(value))
    return last.size === KEYS && [...last.values()].every((value) => value === n)
  }

  const takeOver = async (standbys: number): Promise<number> => {
    const first = start(standbys)
    await produce(1)
    await until(() => counted(1))
    const second = start(standbys)
    await until(() => second.restores.length > 0)
    await produce(2)
    await until(() => counted(2))
    const changelog = await contents(cluster, 'g-aggregate-changelog')
    // What stays with `first` until it stops, and is then to be taken over.
    await until(() => broker.members('g').length === 2)
    const before = second.restores.length
    first.stop.abort()
    await first.ended
    await produce(3)
    await until(() => counted(3))
    expect(changelog.length).toBeGreaterThan(KEYS)
    return second.restores.slice(before).reduce((sum, records) => sum + records, 0)
  }

  it('make taking a task over a matter of what is missing; without one its state is read whole', { timeout: 30_000 }, async () => {
    const whole = await takeOver(0)
    expect(whole).toBeGreaterThanOrEqual(KEYS / 2)
    for (const { stop } of members) stop.abort()
    await Promise.all(members.map(({ ended }) => ended))
    await cluster.deleteTopics(['in', 'out', 'g-aggregate-changelog'])
    broker = createEmbeddedBroker()
    cluster = embedded({ broker, logger: silentLogger })
    await cluster.createTopics([
      { topic: 'in', partitions: PARTITIONS },
      { topic: 'out', partitions: PARTITIONS },
    ])
    expect(await takeOver(1)).toBeLessThan(whole / 4)
  })

  it('are placed with members that do not own the task, where they are already, as many as asked for', () => {
    const active = new Map([
      ['a', [0, 1]],
      ['b', [2, 3]],
      ['c', [4, 5]],
    ])
    const claims = [
      { memberId: 'a', warm: [] },
      { memberId: 'b', warm: [4] },
      { memberId: 'c', warm: [0, 2] },
    ]
    const placed = assignStandbys(claims, active, 1)
    expect([...placed.values()].flat().sort()).toEqual([0, 1, 2, 3, 4, 5])
    expect(placed.get('c')).toEqual(expect.arrayContaining([0, 2]))
    expect(placed.get('b')).toContain(4)
    for (const [memberId, own] of placed) for (const task of own) expect(active.get(memberId)).not.toContain(task)
    expect([...assignStandbys(claims.slice(0, 1), new Map([['a', [0, 1]]]), 2).values()].flat()).toEqual([])
  })
})
