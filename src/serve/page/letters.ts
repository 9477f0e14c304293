import type { Cluster } from '../../cluster/cluster.js'
import { errorMessage, MillraceError } from '../../record/error.js'
import type { HeaderValue } from '../../record/headers.js'
import { findLetters, type FoundLetter } from '../../redrive/find-letters.js'
import type { LetterFilter } from '../../redrive/letters.js'
import type { RedriveFilter, RedriveProgress, RedriveResult } from '../../redrive/options.js'
import { redrive } from '../../redrive/redrive.js'

export interface LetterList {
  /** The newest of those that match. */
  readonly letters: readonly Letter[]
  readonly matching: number
  readonly read: number
  /** Older ones that were not looked at. */
  readonly skipped: number
}

export interface Letter {
  readonly partition: number
  readonly offset: number
  readonly at: number
  readonly step: string
  readonly error: string
  readonly code: string
  /** Where the record was read. */
  readonly from: string
  readonly redriven: number
  /** Only of a single letter, and where it is allowed. */
  readonly content: LetterContent | undefined
}

export interface LetterContent {
  readonly message: string
  readonly key: string | null
  readonly value: string | null
  readonly headers: readonly (readonly [name: string, value: string | null])[]
  /** The value goes on. */
  readonly cut: boolean
}

export interface RedriveState extends RedriveProgress {
  readonly running: boolean
  readonly result: RedriveResult | undefined
  readonly error: string | undefined
}

const MOST_LETTERS = 200
const MOST_OFFSETS = 50_000
const MOST_BYTES = 64 * 1024
const NOTHING: RedriveState = {
  running: false,
  phase: 'looking',
  read: 0,
  sent: 0,
  parked: 0,
  chosen: 0,
  result: undefined,
  error: undefined,
}

/** Dead letters for the page: looked for, and sent back one run at a time. */
export class LetterDesk {
  state: RedriveState = NOTHING
  private readonly closing = new AbortController()

  constructor(
    private readonly cluster: Cluster,
    private readonly content: boolean,
  ) {}

  async list(from: string, filter: RedriveFilter): Promise<LetterList> {
    const one = filter.at !== undefined
    const found = await findLetters(this.cluster, {
      from,
      filter: filter as LetterFilter,
      limit: MOST_LETTERS,
      scan: MOST_OFFSETS,
      signal: this.closing.signal,
    })
    return { ...found, letters: found.letters.map((letter) => shown(letter, one && this.content)) }
  }

  /** Begins a run, unless one is under way. */
  begin(from: string, filter: RedriveFilter, dryRun: boolean): RedriveState {
    if (this.state.running) throw new MillraceError('INVALID_OPTIONS', 'a redrive is under way: wait until it is done')
    this.state = { ...NOTHING, running: true }
    const onProgress = (progress: RedriveProgress): void => void (this.state = { ...this.state, ...progress })
    redrive(this.cluster, { from, filter, dryRun, onProgress, signal: this.closing.signal }).then(
      (result) => (this.state = { ...this.state, running: false, result }),
      (error: unknown) => (this.state = { ...this.state, running: false, error: errorMessage(error) }),
    )
    return this.state
  }

  close(): void {
    this.closing.abort()
  }
}

function shown({ record, failure, redriven }: FoundLetter, withContent: boolean): Letter {
  const { origin, timestamp } = record
  return {
    partition: origin.partition,
    offset: origin.offset,
    at: timestamp,
    step: failure?.step ?? '',
    error: failure?.error ?? '',
    code: failure?.code ?? '',
    from:
      failure === undefined || failure.origin.topic === ''
        ? ''
        : `${failure.origin.topic}/${failure.origin.partition}/${failure.origin.offset}`,
    redriven,
    content: withContent ? contentOf(record, failure?.message ?? '') : undefined,
  }
}

function contentOf({ key, value, headers }: FoundLetter['record'], message: string): LetterContent {
  return {
    message,
    key: textOf(key),
    value: textOf(value),
    headers: Object.entries(headers).flatMap(([name, given]) =>
      (Array.isArray(given) ? (given as readonly HeaderValue[]) : [given as HeaderValue]).map(
        (one) => [name, textOf(one as Buffer | null)] as const,
      ),
    ),
    cut: (value?.length ?? 0) > MOST_BYTES,
  }
}

/** As text where it is text, else in hexadecimal. */
function textOf(bytes: Buffer | null | undefined): string | null {
  if (bytes == null) return null
  const some = bytes.subarray(0, MOST_BYTES)
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(some, { stream: true })
  } catch {
    return some.toString('hex')
  }
}
