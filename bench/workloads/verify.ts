import { crc32 } from '@node-rs/crc32'
import type { Input, Output } from '../compare/workload.js'

/** Sum of checksums: the same whatever the order, and another if one is missing, doubled or changed. */
class Digest {
  count = 0
  private sum = 0

  add(text: string): void {
    this.count++
    this.sum = (this.sum + crc32(text)) % Number.MAX_SAFE_INTEGER
  }

  equals(other: Digest): boolean {
    return this.count === other.count && this.sum === other.sum
  }
}

/** Every record of the input once, as `expected` makes it; `seen` reads a result, in whatever form of JSON. */
export async function once(
  output: AsyncIterable<Output>,
  input: Input,
  expected: (row: { key: string; value: string }, i: number) => string | undefined,
  seen: (record: Output) => string = ({ key, value }) => `${key} ${value}`,
): Promise<string> {
  const [wanted, found] = [new Digest(), new Digest()]
  let i = 0
  for (const row of input.rows()) {
    const text = expected(row, i++)
    if (text !== undefined) wanted.add(text)
  }
  for await (const record of output) found.add(seen(record))
  if (!found.equals(wanted)) throw new Error(`the output is not that of the job: ${found.count} records, ${wanted.count} wanted`)
  return `${found.count} records, checksum as wanted`
}

export interface Result {
  readonly key: string
  readonly start: number
  readonly end: number
  readonly result: number
}

export function parseResult({ key, value }: Output): Result {
  return { key, ...(JSON.parse(value) as Omit<Result, 'key'>) }
}

const nameOf = ({ key, start, end }: Result): string => `${key} ${start} ${end}`

/**
 * Final results: each one of those wanted, none twice. The last windows close by what comes after, or by the program's next look at them, so
 * some of the end may be missing.
 */
export async function finals(output: AsyncIterable<Output>, wanted: ReadonlyMap<string, number>, atLeast: number): Promise<string> {
  const seen = new Set<string>()
  for await (const record of output) {
    const result = parseResult(record)
    const name = nameOf(result)
    if (wanted.get(name) !== result.result) throw new Error(`wrong result: ${name} is ${result.result}, wanted ${wanted.get(name)}`)
    if (seen.has(name)) throw new Error(`${name} came twice`)
    seen.add(name)
  }
  if (seen.size < wanted.size * atLeast) throw new Error(`${seen.size} of ${wanted.size} results`)
  return `${seen.size} of ${wanted.size} results, each right and once`
}

/** Results that are corrected: the last of each is the one wanted. */
export async function latest(output: AsyncIterable<Output>, wanted: ReadonlyMap<string, number>): Promise<string> {
  const last = new Map<string, number>()
  for await (const record of output) {
    const result = parseResult(record)
    last.set(nameOf(result), result.result)
  }
  for (const [name, count] of wanted)
    if (last.get(name) !== count) throw new Error(`wrong result: ${name} is ${last.get(name)}, wanted ${count}`)
  if (last.size !== wanted.size) throw new Error(`${last.size} results, ${wanted.size} wanted`)
  return `${last.size} results, the last of each right`
}

export function countsByWindow(input: Input, size: number): Map<string, number> {
  const counts = new Map<string, number>()
  for (const { key, timestamp } of input.rows()) {
    const start = timestamp - (timestamp % size)
    const name = nameOf({ key, start, end: start + size, result: 0 })
    counts.set(name, (counts.get(name) ?? 0) + 1)
  }
  return counts
}

/** Records of a key no more than `gap` apart; ends with its last record, as both programs say it. */
export function countsBySession(input: Input, gap: number): Map<string, number> {
  const open = new Map<string, { start: number; end: number; count: number }>()
  const counts = new Map<string, number>()
  const close = (key: string, { start, end, count }: { start: number; end: number; count: number }): void =>
    void counts.set(nameOf({ key, start, end, result: 0 }), count)
  for (const { key, timestamp } of input.rows()) {
    const session = open.get(key)
    if (session !== undefined && timestamp - session.end <= gap) {
      session.end = timestamp
      session.count++
      continue
    }
    if (session !== undefined) close(key, session)
    open.set(key, { start: timestamp, end: timestamp, count: 1 })
  }
  for (const [key, session] of open) close(key, session)
  return counts
}
