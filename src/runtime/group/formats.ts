import { MillraceError } from '../../record/error.js'
import { compactAssignment, compactSubscription } from './compact-format.js'
import {
  decodeConsumerAssignment,
  decodeConsumerSubscription,
  encodeConsumerAssignment,
  encodeConsumerSubscription,
} from './consumer-protocol.js'
import { jsonAssignment, jsonSubscription } from './json-format.js'
import type { Division, OwnDivision, OwnSubscription, Subscription } from './messages.js'

/** How the user data is written. */
interface Codec<T> {
  readonly encode: (value: T) => Buffer
  readonly decode: (bytes: Buffer) => T
}

/**
 * One format of what members tell each other, under the name that the group agrees on. A member offers all it knows, the newest first, and
 * the coordinator takes one that all members know: so a rolling upgrade goes on in the old format until its last member is replaced.
 * What a format says is never changed; fields may only follow behind the last, where older readers do not look.
 */
export interface GroupFormat {
  readonly name: string
  readonly subscription: Codec<OwnSubscription>
  readonly assignment: Codec<OwnDivision>
}

const COMPACT: GroupFormat = { name: 'millrace-sticky-3', subscription: compactSubscription, assignment: compactAssignment }
/** Of versions before the compact one: the owner of every task in full, for every member. */
const JSON_TEXT: GroupFormat = { name: 'millrace-sticky-2', subscription: jsonSubscription, assignment: jsonAssignment }

/** What this version knows, by preference. */
export const FORMATS: readonly GroupFormat[] = [COMPACT, JSON_TEXT]

const NOTHING: Division = {
  ...{ tasks: [], topics: [], standby: [], owners: [], refused: undefined, count: undefined },
  ...{ seat: undefined, seats: 0, vacant: [] },
}

export function encodeSubscription({ subscription }: GroupFormat, { topics, ...own }: Subscription): Buffer {
  return encodeConsumerSubscription({ topics, userData: subscription.encode(own) })
}

export function decodeSubscription(format: GroupFormat, bytes: Buffer): Subscription {
  return understood(() => {
    const { topics, userData } = decodeConsumerSubscription(bytes)
    return { topics, ...format.subscription.decode(userData) }
  })
}

export function encodeDivision(format: GroupFormat, { topics, tasks, ...own }: Division): Buffer {
  return encodeConsumerAssignment({ topics, partitions: tasks, userData: format.assignment.encode(own) })
}

/** A member that joined while the leader was dividing gets nothing yet: undefined. */
export function decodeDivision(format: GroupFormat, bytes: Buffer): Division | undefined {
  if (bytes.length === 0) return undefined
  return understood(() => {
    const { topics, partitions, userData } = decodeConsumerAssignment(bytes)
    return { topics, tasks: partitions, ...format.assignment.decode(userData) }
  })
}

export function emptyDivision(topics: readonly string[]): Division {
  return { ...NOTHING, topics }
}

function understood<T>(decode: () => T): T {
  try {
    return decode()
  } catch (error) {
    throw new MillraceError(
      'BROKER_REFUSED',
      'a member of the group speaks another assignment format: give pipelines of different programs different groups',
      { cause: error },
    )
  }
}
