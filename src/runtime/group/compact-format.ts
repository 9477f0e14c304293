import { cursor, readVarint, varintSize, writeVarint } from '../../record/varint.js'
import type { OwnDivision, OwnSubscription } from './messages.js'

/** Of one that needs none; -1 has none yet. */
const NO_SEAT = -2

/**
 * Numbers as varints, tasks as runs (gap, length), each owner's address once. The broker keeps what all members are told in one record:
 * with every address in full for every member, 25 members of 1,000 tasks make 1.2 MB, which it refuses.
 */
export const compactSubscription = {
  encode(subscription: OwnSubscription): Buffer {
    const { owned, generation, tasks, warm, standbys, address, changing, inner, stateful, seat, seats } = subscription
    const writer = new CompactWriter()
    writer.tasks(owned)
    writer.number(generation)
    writer.number(tasks)
    writer.tasks(warm)
    writer.number(standbys)
    writer.optionalText(address)
    writer.texts(changing)
    writer.texts(inner ?? [])
    writer.number(stateful ? 1 : 0)
    writer.number(seats)
    writer.number(seat ?? NO_SEAT)
    return writer.bytes()
  },

  decode(bytes: Buffer): OwnSubscription {
    const reader = new CompactReader(bytes)
    return {
      owned: reader.tasks(),
      generation: reader.number(),
      tasks: reader.number(),
      warm: reader.tasks(),
      standbys: reader.number(),
      address: reader.optionalText(),
      changing: reader.texts(),
      inner: reader.texts(),
      stateful: reader.number() === 1,
      seats: reader.atEnd ? 0 : reader.number(),
      seat: seatOf(reader),
    }
  },
}

export const compactAssignment = {
  encode({ standby, owners, refused, count, seat, seats, vacant }: OwnDivision): Buffer {
    const writer = new CompactWriter()
    writer.tasks(standby)
    writer.optionalText(refused)
    const addresses = [...new Set(owners)]
    writer.texts(addresses)
    const numbers = new Map(addresses.map((address, i) => [address, i]))
    const runs = runsOf(owners)
    writer.number(runs.length)
    for (const { value, length } of runs) {
      writer.number(numbers.get(value) as number)
      writer.number(length)
    }
    if (count === undefined) return writer.bytes()
    writer.number(count)
    writer.number(seats)
    writer.tasks(vacant)
    writer.number(seat ?? NO_SEAT)
    return writer.bytes()
  },

  decode(bytes: Buffer): OwnDivision {
    const reader = new CompactReader(bytes)
    const standby = reader.tasks()
    const refused = reader.optionalText()
    const addresses = reader.texts()
    const owners: string[] = []
    for (let runs = reader.number(); runs > 0; runs--) {
      const address = addresses[reader.number()] as string
      for (let length = reader.number(); length > 0; length--) owners.push(address)
    }
    const count = reader.atEnd ? undefined : reader.number()
    const seats = reader.atEnd ? 0 : reader.number()
    const vacant = reader.atEnd ? [] : reader.tasks()
    return { standby, refused, owners, count, seats, vacant, seat: seatOf(reader) }
  },
}

function seatOf(reader: CompactReader): number | undefined {
  const seat = reader.atEnd ? NO_SEAT : reader.number()
  return seat === NO_SEAT ? undefined : seat
}

function runsOf<T>(values: readonly T[]): { readonly value: T; length: number }[] {
  const runs: { readonly value: T; length: number }[] = []
  for (const value of values) {
    const last = runs.at(-1)
    if (last !== undefined && last.value === value) last.length++
    else runs.push({ value, length: 1 })
  }
  return runs
}

class CompactWriter {
  private readonly parts: Buffer[] = []

  number(value: number): void {
    const bytes = Buffer.alloc(varintSize(value))
    writeVarint(bytes, 0, value)
    this.parts.push(bytes)
  }

  optionalText(value: string | undefined): void {
    const bytes = value === undefined ? undefined : Buffer.from(value, 'utf8')
    this.number(bytes?.length ?? -1)
    if (bytes !== undefined) this.parts.push(bytes)
  }

  texts(values: readonly string[]): void {
    this.number(values.length)
    for (const value of values) this.optionalText(value)
  }

  /** In ascending order: how many are left out, how many follow each other. */
  tasks(values: readonly number[]): void {
    const runs: { gap: number; length: number }[] = []
    let next = 0
    for (const task of [...values].sort((a, b) => a - b)) {
      const last = runs.at(-1)
      if (last !== undefined && task === next) last.length++
      else runs.push({ gap: task - next, length: 1 })
      next = task + 1
    }
    this.number(runs.length)
    for (const { gap, length } of runs) {
      this.number(gap)
      this.number(length)
    }
  }

  bytes(): Buffer {
    return Buffer.concat(this.parts)
  }
}

class CompactReader {
  private pos = 0

  constructor(private readonly buffer: Buffer) {}

  get atEnd(): boolean {
    return this.pos >= this.buffer.length
  }

  number(): number {
    if (this.atEnd) throw new RangeError('cut short')
    const value = readVarint(this.buffer, this.pos)
    this.pos = cursor.pos
    return value
  }

  optionalText(): string | undefined {
    const length = this.number()
    if (length < 0) return undefined
    if (this.pos + length > this.buffer.length) throw new RangeError('cut short')
    this.pos += length
    return this.buffer.toString('utf8', this.pos - length, this.pos)
  }

  texts(): string[] {
    const texts: string[] = []
    for (let left = this.number(); left > 0; left--) texts.push(this.optionalText() ?? '')
    return texts
  }

  tasks(): number[] {
    const tasks: number[] = []
    let next = 0
    for (let runs = this.number(); runs > 0; runs--) {
      next += this.number()
      for (let length = this.number(); length > 0; length--) tasks.push(next++)
    }
    return tasks
  }
}
