import type { TopicPartition } from '../log/port.js'
import { ERROR } from './errors.js'
import type { FetchedPartition, FetchPartition, FetchRequest, FetchResponse } from './protocol/fetch.js'

/** The session of a request that asks for none, or for a new one; and of an answer that gives none. */
const NO_SESSION = 0
/** Names all partitions, gives up the session it names and asks for another. */
const NEW_EPOCH = 0
const FIRST_EPOCH = 1
const FINAL_EPOCH = -1
const LAST_EPOCH = 2 ** 31 - 1
/** Longer ones do not make answers longer than they were asked to be: the broker gives one batch whole all the same. */
const MARGIN_SHIFT = 4
const LONGEST_BATCH_BYTES = 2 * 1024 * 1024

/** What the broker keeps of a partition, for whom, and what it answered last. */
interface Member {
  item: FetchPartition
  of: Wanted
  answer: FetchedPartition | undefined
}

/** A partition that is to be fetched. */
export interface Wanted extends TopicPartition {
  /** Its topic and number as one, unlike any other's. */
  readonly name: string
  readonly fetchOffset: number
  readonly fetchEpoch: number
  readonly leaderEpoch: number
  /** About how long its batches are, as far as is known; 0 where it is not. */
  readonly batchBytes: number
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
  private maxBytes = 0
  private readonly members = new Map<string, Member>()
  /** What is to be fetched. */
  private readonly wanted = new Map<string, Wanted>()
  /** Of which the broker may not have it as it is here. */
  private readonly changed = new Set<string>()

  /** From the next request on it is fetched, from where it then stands. To be called again where that changed. */
  put(one: Wanted): void {
    this.wanted.set(one.name, one)
    this.changed.add(one.name)
  }

  remove(one: Wanted): void {
    if (this.wanted.get(one.name) !== one) return
    this.wanted.delete(one.name)
    this.changed.add(one.name)
  }

  /** Whether it was asked for as it is now. */
  hasAsked(one: Wanted): boolean {
    const member = this.members.get(one.name)
    return member?.of === one && member.item.offset === one.fetchOffset
  }

  /**
   * The next request. A broker without sessions fills its answer in the order asked, so `rotation` says which partition is the first; with
   * one it sees to it that each has its turn.
   */
  next(maxBytes: number, rotation: number): SessionRequest {
    const isNew = this.epoch === NEW_EPOCH
    if (isNew) this.members.clear()
    const names = isNew || maxBytes !== this.maxBytes ? new Set([...this.wanted.keys(), ...this.changed]) : this.changed
    this.maxBytes = maxBytes
    const named: FetchPartition[] = []
    const forgotten: TopicPartition[] = []
    for (const name of names) {
      const one = this.wanted.get(name)
      const member = this.members.get(name)
      if (one === undefined) {
        if (member === undefined) continue
        this.members.delete(name)
        forgotten.push(member.item)
        continue
      }
      const { topic, partition, fetchOffset: offset, fetchEpoch: lastFetchedEpoch, leaderEpoch } = one
      const limit = wholeBatches(one, maxBytes)
      if (member !== undefined) {
        const { item, of } = member
        const isSame = item.offset === offset && item.lastFetchedEpoch === lastFetchedEpoch && item.leaderEpoch === leaderEpoch
        // Who wants it anew has not heard where it ends.
        if (of === one && isSame && item.maxBytes === limit) continue
      }
      const item = { topic, partition, offset, leaderEpoch, lastFetchedEpoch, maxBytes: limit }
      this.members.set(name, { item, of: one, answer: member?.answer })
      named.push(item)
    }
    this.changed.clear()
    const start = isNew && named.length > 0 ? rotation % named.length : 0
    const partitions = start === 0 ? named : [...named.slice(start), ...named.slice(0, start)]
    return { sessionId: this.id, sessionEpoch: this.epoch, partitions, forgotten }
  }

  /** A request that ends it, for a broker that would keep it until it needs the room for others; undefined where there is none. */
  last(): SessionRequest | undefined {
    return this.id === NO_SESSION ? undefined : { sessionId: this.id, sessionEpoch: FINAL_EPOCH, partitions: [], forgotten: [] }
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

/**
 * A broker cuts an answer off in the middle of a batch, and the rest comes with the whole batch again: of batches of 1 MB in answers of
 * 1.8 MB that was nearly half of what came.
 */
function wholeBatches({ batchBytes }: Wanted, maxBytes: number): number {
  if (batchBytes === 0 || batchBytes > LONGEST_BATCH_BYTES) return maxBytes
  // The next ones may be a little longer.
  return batchBytes * Math.max(1, Math.floor(maxBytes / batchBytes)) + (batchBytes >> MARGIN_SHIFT)
}

function nameOf({ topic, partition }: TopicPartition): string {
  return `${topic}/${partition}`
}
