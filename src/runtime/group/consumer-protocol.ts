import { MillraceError } from '../../record/error.js'

/**
 * The metadata of Kafka's consumer group protocol (ConsumerProtocolSubscription and -Assignment, version 0), so that the
 * usual tools can show a millrace group; our own data travels in the user data, as JSON.
 */
export const PROTOCOL_NAME = 'millrace-sticky-2'

export interface Subscription {
  readonly topics: readonly string[]
  readonly owned: readonly number[]
  readonly generation: number
  /** Partition count as the member sees it: a change makes the group divide anew. */
  readonly tasks: number
  /** Tasks whose state the member keeps a warm copy of. */
  readonly warm: readonly number[]
  /** Warm copies that each task should have. */
  readonly standbys: number
  /** Where others can ask this member for its state; its member id where it does not say. */
  readonly address: string | undefined
}

/** What the leader tells a member. */
export interface Division {
  readonly tasks: readonly number[]
  /** Tasks to keep a warm copy of. */
  readonly standby: readonly number[]
  /** The owner of each task, by its address. */
  readonly owners: readonly string[]
}

export function encodeSubscription(subscription: Subscription): Buffer {
  const { topics, ...own } = subscription
  const userData = Buffer.from(JSON.stringify(own))
  return Buffer.concat([int16(0), int32(topics.length), ...topics.map(text), int32(userData.length), userData])
}

export function decodeSubscription(bytes: Buffer): Subscription {
  const reader = new Cursor(bytes)
  reader.int16()
  const topics = Array.from({ length: reader.int32() }, () => reader.text())
  try {
    const { owned, generation, tasks, warm, standbys, address } = JSON.parse(reader.bytes().toString('utf8')) as Omit<
      Subscription,
      'topics'
    >
    return { topics, owned, generation, tasks, warm, standbys, address }
  } catch (error) {
    throw new MillraceError(
      'BROKER_REFUSED',
      'a member of the group speaks another assignment format: give pipelines of different programs different groups',
      { cause: error },
    )
  }
}

export function encodeAssignment(topics: readonly string[], { tasks, standby, owners }: Division): Buffer {
  const partitions = Buffer.concat([int32(tasks.length), ...tasks.map(int32)])
  const userData = Buffer.from(JSON.stringify({ standby, owners }))
  return Buffer.concat([
    int16(0),
    int32(topics.length),
    ...topics.flatMap((topic) => [text(topic), partitions]),
    int32(userData.length),
    userData,
  ])
}

export function decodeAssignment(bytes: Buffer): Division {
  // A member that joined while the leader was dividing gets nothing yet.
  if (bytes.length === 0) return { tasks: [], standby: [], owners: [] }
  const reader = new Cursor(bytes)
  reader.int16()
  let tasks: number[] = []
  for (let topics = reader.int32(); topics > 0; topics--) {
    reader.text()
    tasks = Array.from({ length: reader.int32() }, () => reader.int32())
  }
  const { standby, owners } = JSON.parse(reader.bytes().toString('utf8')) as Omit<Division, 'tasks'>
  return { tasks, standby, owners }
}

class Cursor {
  private pos = 0
  constructor(private readonly buffer: Buffer) {}

  int16(): number {
    this.pos += 2
    return this.buffer.readInt16BE(this.pos - 2)
  }

  int32(): number {
    this.pos += 4
    return this.buffer.readInt32BE(this.pos - 4)
  }

  text(): string {
    const length = this.int16()
    this.pos += length
    return this.buffer.toString('utf8', this.pos - length, this.pos)
  }

  bytes(): Buffer {
    const length = Math.max(0, this.int32())
    this.pos += length
    return this.buffer.subarray(this.pos - length, this.pos)
  }
}

function int16(value: number): Buffer {
  const bytes = Buffer.alloc(2)
  bytes.writeInt16BE(value)
  return bytes
}

function int32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeInt32BE(value)
  return bytes
}

function text(value: string): Buffer {
  const bytes = Buffer.from(value, 'utf8')
  return Buffer.concat([int16(bytes.length), bytes])
}
