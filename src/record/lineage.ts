import { lastHeader } from './headers.js'
import { originText, type Origin } from './origin.js'

/** Where a record comes from that was sent back from a dead-letter topic. */
export interface Lineage {
  /** Where it was read when it first failed: what `record.id` names. */
  readonly first: Origin
  /** The first place it had in the topic it lies in, where that is neither `first` nor the one it has now. */
  readonly here: Origin | undefined
}

/**
 * The place of a record under which a task keeps what it knows of it: the first it had in the partition that it lies in. What was sent back
 * lies behind that; a topic that was made anew begins again.
 */
export function placeInPartition({ topic, partition, offset }: Origin, lineage: Lineage): number {
  for (const before of [lineage.first, lineage.here])
    if (before !== undefined && before.topic === topic && before.partition === partition && before.offset < offset) return before.offset
  return offset
}

/** Written by redrive: where the record was first read, and the producer that wrote it so. */
export const LINEAGE_HEADER = 'millrace.redriven-from'
const LINEAGE_BYTES = Buffer.from(LINEAGE_HEADER)

/** Topic names hold none of '/', ',' and '@'. */
const ORIGIN = /^([^/,@]+)\/(\d{1,10})\/(\d{1,16})$/

export function lineageText({ first, here }: Lineage): string {
  return here === undefined ? originText(first) : `${originText(first)},${originText(here)}`
}

export function parseLineage(text: string): Lineage | undefined {
  const [first, here, ...rest] = text.split(',').map(parseOrigin)
  if (first === undefined || rest.length > 0 || (here === undefined && text.includes(','))) return undefined
  return { first, here }
}

function parseOrigin(text: string): Origin | undefined {
  const match = ORIGIN.exec(text)
  if (match === null) return undefined
  const origin = { topic: match[1] as string, partition: Number(match[2]), offset: Number(match[3]) }
  return Number.isSafeInteger(origin.offset) ? origin : undefined
}

/**
 * The value of the header. It names the producer whose batches it holds for: a header that a program copied along with the others, or that
 * came in from outside, lies in a batch of another one, and says nothing there.
 */
export function lineageHeader(lineage: Lineage, producerId: bigint): string {
  return `${lineageText(lineage)}@${producerId}`
}

/** What the headers from `start` on tell of a record in a batch of that producer. */
export function readLineage(bytes: Buffer, start: number, producerId: bigint): Lineage | undefined {
  const text = lastHeader(bytes, start, LINEAGE_BYTES)?.toString('latin1')
  const by = `@${producerId}`
  return text?.endsWith(by) === true ? parseLineage(text.slice(0, -by.length)) : undefined
}
