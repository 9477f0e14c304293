import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Observable } from 'rxjs'
import {
  embedded,
  silentLogger,
  toTopic,
  withTransaction,
  type Cluster,
  type Commit,
  type Logger,
  type SourceOptions,
} from '../../src/index.js'
import { LogCluster } from '../../src/cluster/cluster.js'
import { logError } from '../../src/log/error.js'
import { inArea } from '../../src/record/logger.js'
import { WaitBoard } from '../../src/record/wait-report.js'
import { VirtualClock, createEmbeddedBroker, type EmbeddedBroker } from '../../src/testing/index.js'

describe('waiting for the log', () => {
  let clock: VirtualClock
  let broker: EmbeddedBroker
  let warnings: { message: string; error?: string }[]
  /** Whether a broker is to be reached. */
  let up: boolean
  let connects: number
  let cluster: Cluster

  beforeEach(async () => {
    clock = new VirtualClock()
    broker = createEmbeddedBroker({ clock })
    warnings = []
    up = true
    connects = 0
    const logger: Logger = { ...silentLogger, warn: (fields, message) => void warnings.push({ ...fields, message }) }
    const client = (): ReturnType<EmbeddedBroker['client']> => {
      const own = broker.client()
      const connect = own.connect.bind(own)
      own.connect = async () => {
        connects++
        if (!up) throw logError('BROKER_UNREACHABLE', 'retry', 'no broker at localhost:9092')
        return connect()
      }
      return own
    }
    cluster = embedded({ broker: { ...broker, client }, clock, logger })
    await cluster.createTopics([{ topic: 'in' }, { topic: 'out' }])
  })
  afterEach(() => cluster.close())

  interface Run {
    readonly stop: AbortController
    readonly commits: Commit[]
    ended: boolean
    error: unknown
  }
  const run = (options: Partial<SourceOptions> = {}): Run => {
    const stop = new AbortController()
    const run: Run = { stop, commits: [], ended: false, error: undefined }
    const pipeline: Observable<Commit> = cluster
      .source({ group: 'g', topics: ['in'], signal: stop.signal, ...options })
      .pipe(withTransaction((records) => records.pipe(toTopic({ topic: 'out' }))))
    pipeline.subscribe({
      next: (commit) => run.commits.push(commit),
      error: (error: unknown) => Object.assign(run, { error, ended: true }),
      complete: () => (run.ended = true),
    })
    return run
  }
  const waits = (): (string | undefined)[] =>
    warnings.filter(({ message }) => message.startsWith('still waiting')).map(({ message, error }) => `${message}: ${error}`)

  it('a pipeline that starts before its broker waits for it, and says so', async () => {
    up = false
    const member = run()
    await clock.advance('10m')
    expect([member.ended, connects > 10]).toEqual([false, true])
    expect(waits()[0]).toBe('still waiting: for the cluster, to start: no broker at localhost:9092')
    // Not a line a try.
    expect(waits().length).toBeLessThan(10)
    expect(cluster.status.snapshot().pipelines).toMatchObject([
      { state: 'starting', waits: [{ what: 'for the cluster, to start', forMs: 600_000, why: 'no broker at localhost:9092' }] },
    ])
    up = true
    await clock.advance('10s')
    expect(broker.members('g')).toHaveLength(1)
    member.stop.abort()
    await clock.advance(0)
    expect(member).toMatchObject({ ended: true, error: undefined })
  })

  it('what the log tries again by itself is the reason of the wait for it', async () => {
    const logger: Logger = { ...silentLogger, warn: (fields, message) => void warnings.push({ ...fields, message }) }
    cluster = new LogCluster({
      clock,
      logger,
      openLog: async (own) => {
        const client = broker.client()
        client.connect = () => {
          WaitBoard.of(inArea(own ?? silentLogger, 'log'))?.heard(logError('TIMEOUT', 'retry', 'the coordinator loads'))
          return new Promise(() => {})
        }
        return client
      },
    })
    const member = run()
    await clock.advance('6s')
    expect(waits()).toEqual(['still waiting: for the cluster, to start: the coordinator loads'])
    expect(cluster.status.snapshot().pipelines).toMatchObject([
      { waits: [{ what: 'for the cluster, to start', why: 'the coordinator loads' }] },
    ])
    member.stop.abort()
    await clock.advance(0)
  })

  it('a stop ends that wait at once; startWithin ends it with the error', async () => {
    up = false
    const [stopped, limited, impatient] = [run(), run({ startWithin: '1m' }), run({ startWithin: 0 })]
    await clock.advance('30s')
    expect([stopped, limited, impatient].map(({ ended }) => ended)).toEqual([false, false, true])
    expect(impatient.error).toMatchObject({ code: 'BROKER_UNREACHABLE' })
    stopped.stop.abort()
    await clock.advance(0)
    expect(stopped).toMatchObject({ ended: true, error: undefined })
    await clock.advance('1m')
    expect(limited.error).toMatchObject({ code: 'BROKER_UNREACHABLE' })
  })

  it('a source without a transaction waits as well', async () => {
    up = false
    let ended = false
    const stop = new AbortController()
    cluster.source({ group: 'g', topics: ['in'], signal: stop.signal }).subscribe({ complete: () => (ended = true) })
    await clock.advance('1m')
    expect([ended, waits().length > 0]).toEqual([false, true])
    up = true
    await clock.advance('10s')
    expect(broker.members('g')).toHaveLength(1)
    stop.abort()
    await clock.advance(0)
    expect(ended).toBe(true)
  })

  it('committed offsets that cannot be read are waited for with a word, and a stop does not wait', async () => {
    broker.faults.inject({ at: 'committedOffsets', times: 1_000, reaction: 'retry' })
    const member = run()
    await clock.advance('1m')
    expect(waits()[0]).toMatch(/^still waiting: to know where its tasks go on: /)
    member.stop.abort()
    await clock.advance(0)
    expect(member).toMatchObject({ ended: true, error: undefined })
  })

  it('a request without an answer does not hold a stop up', async () => {
    broker.faults.inject({ at: 'init', delayMs: 1_000_000 })
    const member = run()
    await clock.advance('1m')
    expect(waits()[0]).toMatch(/^still waiting: to initialise the producer/)
    member.stop.abort()
    await clock.advance(0)
    expect(member).toMatchObject({ ended: true, error: undefined })
  })

  it('an input that is deleted while the pipeline joins ends it with its error', async () => {
    const admin = broker.client()
    broker.faults.inject({ at: 'join', times: 3, reaction: 'retry' })
    const member = run()
    await clock.advance(0)
    await admin.deleteTopics(['in'])
    await clock.advance('30s')
    expect(member.ended).toBe(false)
    expect(waits()[0]).toMatch(/^still waiting: to join the group.*'in' was deleted/)
    await clock.advance('2m')
    expect(member.error).toMatchObject({ code: 'MISSING_TOPIC', message: expect.stringMatching(/'in' was deleted/) })
  })
})
