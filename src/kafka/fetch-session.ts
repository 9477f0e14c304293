import type { TopicPartition } from '../log/port.js'
import { ERROR } from './errors.js'
import type { FetchedPartition, FetchPartition, FetchRequest, FetchResponse } from './protocol/fetch.js'

/** The session of a request that asks for none, or for a new one; and of an answer that gives none. */
const NO_SESSION = 0
/** Names all partitions, gives up the session it names and asks for another. */
const NEW_EPOCH = 0
const FIRST_EPOCH = 1
const LAST_EPOCH = 2 ** 31 - 1

/** What the broker keeps of a partition, and what it answered last. */
interface Member {
  item: FetchPartition
  /** The request that it was wanted in. */
  turn: number
  answer: FetchedPartition | undefined
}

/** A partition that is to be fetched. */
export interface Wanted extends TopicPartition {
  /** Its topic and number as one, unlike any other's. */
  readonly name: string
  readonly fetchOffset: number
  readonly fetchEpoch: number
  readonly leaderEpoch: number
}

/** The part of a request that its session decides. */
export type SessionRequest = Pick<FetchRequest, 'sessionId' | 'sessionEpoch' | 'partitions' | 'forgotten'>

/**
 * One fetch session: the broker keeps which partitions are fetched, and where, so that a request names only those that came, changed or
 * went, and the answer only those of which there is news. One request is under way at a time. Where the broker has no room for sessions,
 * each request names all. (KIP-227)
 */
export class FetchSession {
  private id = NO_SESSION
  private epoch = NEW_EPOCH
  private turn = 0
  private readonly members = new Map<string, Member>()

  /** Whether the broker has it: it then gives each partition its turn to be the first in an answer. */
  get isOpen(): boolean {
    return this.epoch !== NEW_EPOCH
  }

  /** A request for these partitions and no others; the broker fills its answer in their order, or as the session has them. */
  next(wanted: readonly Wanted[], maxBytes: number): SessionRequest {
    if (this.epoch === NEW_EPOCH) this.members.clear()
    const turn = ++this.turn
    const named: FetchPartition[] = []
    for (const { name, topic, partition, fetchOffset: offset, fetchEpoch: lastFetchedEpoch, leaderEpoch } of wanted) {
      const member = this.members.get(name)
      if (member !== undefined) {
        const { item } = member
        member.turn = turn
        const isSame = item.offset === offset && item.lastFetchedEpoch === lastFetchedEpoch && item.leaderEpoch === leaderEpoch
        if (isSame && item.maxBytes === maxBytes) continue
      }
      const item = { topic, partition, offset, leaderEpoch, lastFetchedEpoch, maxBytes }
      if (member === undefined) this.members.set(name, { item, turn, answer: undefined })
      else member.item = item
      named.push(item)
    }
    return { sessionId: this.id, sessionEpoch: this.epoch, partitions: named, forgotten: this.forget(wanted.length) }
  }

  /**
   * What a broker answered to `asked`. Undefined where it does not know the session any more, or not as it is here: nothing was fetched, and
   * the next request begins another. Partitions that the request named come in it also where there is no news of them.
   */
  answered(asked: SessionRequest, response: FetchResponse): readonly FetchedPartition[] | undefined {
    const { error, sessionId } = response
    const isFull = asked.sessionEpoch === NEW_EPOCH
    if (error !== ERROR.none) {
      if (error === ERROR.fetchSessionIdNotFound) this.id = NO_SESSION
      this.epoch = NEW_EPOCH
      return undefined
    }
    if (sessionId === NO_SESSION || (isFull && response.partitions.length < asked.partitions.length)) {
      this.id = sessionId
      this.epoch = NEW_EPOCH
    } else {
      this.id = sessionId
      this.epoch = this.epoch === LAST_EPOCH ? FIRST_EPOCH : this.epoch + 1
    }
    const answers = [...response.partitions]
    for (const answer of answers) {
      const member = this.members.get(nameOf(answer))
      // Bytes of the answer must not be held by what is only to be told again.
      if (member !== undefined) member.answer = { ...answer, records: NO_BYTES, aborted: [], diverging: undefined }
    }
    if (isFull) return answers
    const found = new Set(answers.map(nameOf))
    for (const { topic, partition } of asked.partitions) {
      const name = nameOf({ topic, partition })
      const before = found.has(name) ? undefined : this.members.get(name)?.answer
      // After an error the broker tells of the partition again, whatever there is.
      if (before?.error === ERROR.none) answers.push(before)
    }
    return answers
  }

  /** A request failed, or its answer was lost: the broker may have gone on with the session or not. */
  failed(): void {
    this.epoch = NEW_EPOCH
  }

  /** Those that were not wanted this time. */
  private forget(wanted: number): TopicPartition[] {
    if (this.members.size === wanted) return []
    const gone: TopicPartition[] = []
    for (const [name, { item, turn }] of this.members) {
      if (turn === this.turn) continue
      this.members.delete(name)
      gone.push(item)
    }
    return gone
  }
}

const NO_BYTES = Buffer.alloc(0)

/** Whether an error is of the session alone, and not of the fetch. */
export function isSessionError(error: number): boolean {
  return (
    error === ERROR.fetchSessionIdNotFound ||
    error === ERROR.invalidFetchSessionEpoch ||
    error === ERROR.fetchSessionTopicIdError ||
    error === ERROR.inconsistentTopicId
  )
}

function nameOf({ topic, partition }: TopicPartition): string {
  return `${topic}/${partition}`
}
