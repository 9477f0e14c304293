import { setImmediate } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { createEmbeddedBroker, type EmbeddedBroker } from '../../src/embedded/broker.js'
import { logError, reactionTo } from '../../src/log/error.js'
import type { GroupOptions, LogClient, LogGroup, LogProducer, LogReader, ProducerOptions, ReaderOptions } from '../../src/log/port.js'
import { MillraceError } from '../../src/record/error.js'
import { runCase, type ContractCase } from '../contract/case.js'
import { logContract } from '../contract/log-contract.js'
import { uniqueName } from '../contract/support.js'

interface Broken {
  readonly name: string
  /** Cases that must notice. */
  readonly noticed: readonly string[]
  breaks(log: LogClient, broker: EmbeddedBroker): Partial<LogClient>
}

/** Implementations with one thing wrong each. */
const BROKEN: readonly Broken[] = [
  {
    name: 'commits without looking at the generation',
    noticed: [
      'the commit of an older generation or an unknown member is refused, and nothing of it stays',
      'a commit whose offsets move nothing is refused once its generation is over, and nothing of it stays',
    ],
    breaks: (log) =>
      producing(log, (inner) => ({
        // What the coordinator takes from a client that is in no group.
        commit: (offsets, member) => inner.commit(offsets, member && { ...member, memberId: '', generation: -1, instanceId: undefined }),
      })),
  },
  {
    name: 'answers with committed offsets that are about to be moved',
    noticed: ['committedOffsets waits for the transaction that is about to move them'],
    breaks: (_log, broker) => ({
      async committedOffsets(group, partitions) {
        const stored = broker.offsets(group)
        return partitions.map((at) => stored.find(({ topic, partition }) => topic === at.topic && partition === at.partition)?.offset)
      },
    }),
  },
  {
    name: 'does not tell of which partitions there is news',
    noticed: ['a reader tells of which partitions there is news, before it says that there is: of data, of where one ends, and of errors'],
    breaks: (log) => ({ reader: ({ onNews: _, ...options }) => log.reader(options) }),
  },
  {
    name: 'commits offsets without their leader epochs',
    noticed: [
      'a committed position keeps the leader epoch that was committed with it, in a transaction and without one',
      'what is read has the leader epoch of each position, and a pipeline commits it with its offsets',
    ],
    breaks: (log) =>
      producing(log, (inner) => ({
        commit: (offsets, member) =>
          inner.commit(
            offsets.map(({ topic, partition, offset }) => ({ topic, partition, offset })),
            member,
          ),
      })),
  },
  {
    name: 'commits offsets without the text that belongs to them',
    noticed: ['a committed position keeps the text that was committed with it, in a transaction and without one'],
    breaks: (log) =>
      producing(log, (inner) => ({
        commit: (offsets, member) =>
          inner.commit(
            offsets.map(({ metadata: _, ...at }) => at),
            member,
          ),
      })),
  },
  {
    name: 'reads on without looking whether the log still has what was read',
    noticed: ['a committed position that the log has not got as it was stops a pipeline, naming it, or it reads what is there'],
    breaks: (log) =>
      reading(log, (inner) => ({
        assign: (positions) => inner.assign(positions.map(({ topic, partition, offset }) => ({ topic, partition, offset }))),
      })),
  },
  {
    name: 'leaks aborted and open records',
    noticed: [
      "a transaction's records are visible after its commit, not before, in all partitions",
      'aborted records are never visible, however transactions interleave',
      'aborted records are never visible where a transaction spans several fetches',
      'offsets commit with the outputs and not without them',
    ],
    breaks: (log) => ({ reader: (options) => log.reader({ ...options, isolation: 'read_uncommitted' }) }),
  },
  {
    name: 'commits offsets on their own, before the outputs',
    noticed: ['offsets commit with the outputs and not without them'],
    breaks: (log) =>
      producing(log, (inner, options) => ({
        async commit(offsets, member) {
          await commitApart(log, options, (apart) => apart.commit(offsets, member))
          await inner.commit([], undefined)
        },
      })),
  },
  {
    name: 'commits offsets on their own, after the outputs',
    noticed: ['offsets commit with the outputs and not without them'],
    breaks: (log) =>
      producing(log, (inner, options) => ({
        async commit(offsets, member) {
          await inner.commit([], undefined)
          await commitApart(log, options, (apart) => apart.commit(offsets, member))
        },
      })),
  },
  {
    name: 'commits without waiting for what is being sent',
    noticed: ['without a transactional id, outputs are visible at once and offsets are committed after them'],
    breaks: (log) =>
      producing(log, (inner) => ({
        async send(batches) {
          await setImmediate()
          return inner.send(batches)
        },
      })),
  },
  {
    name: 'fences nobody with init()',
    noticed: ['a second init of a transactional id fences the first producer and aborts what it left open'],
    breaks: (log) => ({
      producer: (options) => log.producer({ ...options, transactionalId: options.transactionalId && uniqueName(options.transactionalId) }),
    }),
  },
  {
    name: 'sends batches in another order than that of the calls',
    noticed: ['records come in the order sent, offsets rising, bytes, headers and timestamps equal'],
    breaks: (log) =>
      producing(log, (inner) => {
        const held: (() => void)[] = []
        return {
          send: (batches) =>
            new Promise((resolve, reject) => {
              if (held.length === 0) queueMicrotask(() => held.splice(0).forEach((send) => send()))
              held.unshift(() => void inner.send(batches).then(resolve, reject))
            }),
        }
      }),
  },
  {
    name: 'gives times away',
    noticed: ['records come in the order sent, offsets rising, bytes, headers and timestamps equal'],
    breaks: (log) => reading(log, (inner) => ({ take: (topic, partition) => withoutTimes(inner.take(topic, partition)) })),
  },
  {
    name: 'stays unusable after abort()',
    noticed: ['after a send that was refused the producer is usable again once it has aborted'],
    breaks: (log) => producing(log, () => ({ abort: () => Promise.resolve() })),
  },
  {
    name: 'lets lost members go on',
    noticed: [
      "a second member's join shows as 'rejoin' at the first one's heartbeat; the leader gives both their parts",
      "a member that leaves or falls silent is 'lost', and the others divide its work",
    ],
    breaks: (log) => heartbeating(log, 'lost'),
  },
  {
    name: 'lets two processes with one instance id live',
    noticed: ['a member restarted with its instance id takes its place without a rebalance; the old process is fenced'],
    breaks: (log) => heartbeating(log, 'fatal'),
  },
  {
    name: 'takes the high watermark for the last stable offset, and any time for the earliest',
    noticed: [
      'offsets: earliest, latest, stable, in the order asked',
      'offsets by time: the first record at or after it, the high watermark after the last',
    ],
    breaks: (log) => ({
      offsets: (partitions, at) => log.offsets(partitions, at === 'stable' ? 'latest' : typeof at === 'object' ? 'earliest' : at),
    }),
  },
  {
    name: 'starts over where an offset is out of range',
    noticed: ['reading where the log is not: OFFSET_OUT_OF_RANGE once, with the place; reading goes on elsewhere'],
    breaks: (log) =>
      reading(log, (inner) => ({
        assign: (positions) => inner.assign(positions.map((at) => (at.offset > 50 ? { ...at, offset: 0 } : at))),
      })),
  },
  {
    name: 'does not say where an offset is out of range',
    noticed: [
      'reading where the log is not: OFFSET_OUT_OF_RANGE once, with the place; reading goes on elsewhere',
      "deleted before they were read: a pipeline stops, naming the place, or goes on at 'earliest' or 'latest'",
    ],
    breaks: (log) => reading(log, (inner) => ({ take: (topic, partition) => placeless(() => inner.take(topic, partition)) })),
  },
  {
    name: 'takes a topic that exists for one it made',
    noticed: ['topics that do not exist are left out; a topic that exists cannot be created'],
    breaks: (log) => ({ createTopics: (topics) => log.createTopics(topics).catch(() => undefined) }),
  },
  {
    name: 'goes on after close()',
    noticed: ['closing the client rejects what waits with CLOSED, and all that comes after'],
    breaks: (log, broker) => ({ topics: (names) => log.topics(names).catch(() => broker.client().topics(names)) }),
  },
]

describe('the contract notices a log that', () => {
  it.each(BROKEN.flatMap((broken) => broken.noticed.map((noticed) => ({ ...broken, noticed }))))(
    '$name: $noticed',
    async ({ noticed, breaks }) => {
      const broker = createEmbeddedBroker()
      const open = (): LogClient => {
        const client = broker.client()
        return overriding(client, breaks(client, broker))
      }
      await expect(runCase(caseNamed(noticed), { open, deleteBefore: async (at) => broker.truncate(at) })).rejects.toSatisfy(
        (error) => error instanceof Error && !(error instanceof TypeError),
      )
    },
  )
})

function caseNamed(name: string): ContractCase {
  const found = logContract.find((contractCase) => contractCase.name === name)
  if (found === undefined) throw new Error(`the contract has no case '${name}'`)
  return found
}

/** The target with some of its methods replaced. */
function overriding<T extends object>(target: T, overrides: Partial<T>): T {
  return new Proxy(target, {
    get(_target, key) {
      const value: unknown = Reflect.get(key in overrides ? overrides : target, key)
      return typeof value === 'function' ? (value as (...args: unknown[]) => unknown).bind(target) : value
    },
  })
}

function producing(log: LogClient, overrides: (inner: LogProducer, options: ProducerOptions) => Partial<LogProducer>): Partial<LogClient> {
  return {
    producer(options) {
      const inner = log.producer(options)
      return overriding(inner, overrides(inner, options))
    },
  }
}

function reading(log: LogClient, overrides: (inner: LogReader) => Partial<LogReader>): Partial<LogClient> {
  return {
    reader(options: ReaderOptions) {
      const inner = log.reader(options)
      return overriding(inner, overrides(inner))
    },
  }
}

/** Heartbeats that keep to themselves what would end the member. */
function heartbeating(log: LogClient, silent: 'lost' | 'fatal'): Partial<LogClient> {
  return {
    group(options: GroupOptions): LogGroup {
      const inner = log.group(options)
      const heartbeat: LogGroup['heartbeat'] = async (member) => {
        try {
          await inner.heartbeat(member)
        } catch (error) {
          if (reactionTo(error) !== silent) throw error
        }
      }
      return overriding(inner, { heartbeat })
    },
  }
}

async function commitApart(log: LogClient, options: ProducerOptions, commit: (apart: LogProducer) => Promise<void>): Promise<void> {
  const apart = log.producer({ ...options, transactionalId: undefined })
  await apart.init()
  await commit(apart)
  await apart.close()
}

function withoutTimes(fetched: ReturnType<LogReader['take']>): ReturnType<LogReader['take']> {
  return fetched?.batch === undefined ? fetched : { ...fetched, batch: { ...fetched.batch, logAppendTime: true } }
}

function placeless(take: () => ReturnType<LogReader['take']>): ReturnType<LogReader['take']> {
  try {
    return take()
  } catch (error) {
    throw error instanceof MillraceError ? logError(error.code, reactionTo(error), error.message) : error
  }
}
