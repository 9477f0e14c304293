/**
 * The metadata of Kafka's consumer group protocol (ConsumerProtocolSubscription and -Assignment, version 0), so that the
 * usual tools can show a millrace group; our own data travels in the user data (see formats.ts).
 */
export interface ConsumerSubscription {
  readonly topics: readonly string[]
  readonly userData: Buffer
}

export interface ConsumerAssignment extends ConsumerSubscription {
  /** Partitions of every one of the topics. */
  readonly partitions: readonly number[]
}

export function encodeConsumerSubscription({ topics, userData }: ConsumerSubscription): Buffer {
  return Buffer.concat([int16(0), int32(topics.length), ...topics.map(text), int32(userData.length), userData])
}

export function decodeConsumerSubscription(bytes: Buffer): ConsumerSubscription {
  const reader = new Cursor(bytes)
  reader.int16()
  const topics = Array.from({ length: reader.int32() }, () => reader.text())
  return { topics, userData: reader.bytes() }
}

export function encodeConsumerAssignment({ topics, partitions, userData }: ConsumerAssignment): Buffer {
  const same = Buffer.concat([int32(partitions.length), ...partitions.map(int32)])
  return Buffer.concat([
    int16(0),
    int32(topics.length),
    ...topics.flatMap((topic) => [text(topic), same]),
    int32(userData.length),
    userData,
  ])
}

export function decodeConsumerAssignment(bytes: Buffer): ConsumerAssignment {
  const reader = new Cursor(bytes)
  reader.int16()
  const topics: string[] = []
  let partitions: number[] = []
  for (let left = reader.int32(); left > 0; left--) {
    topics.push(reader.text())
    partitions = Array.from({ length: reader.int32() }, () => reader.int32())
  }
  return { topics, partitions, userData: reader.bytes() }
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
