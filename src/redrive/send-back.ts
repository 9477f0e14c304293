import { Observable, concatMap, of, type OperatorFunction } from 'rxjs'
import { replaceHeaders } from '../record/headers.js'
import type { LogRecord, RawRecord } from '../record/record.js'
import { LINEAGE_HEADER, lineageHeader } from '../record/lineage.js'
import { REDRIVEN_HEADER, isFailureHeader } from '../record/redriven.js'
import { Mark, mark } from '../runtime/accounting.js'
import { activeSlice } from '../runtime/context.js'
import { fateOf, lineageOf, timeOf, type Fate, type LetterRules } from './letters.js'
import { operate } from '../runtime/operate.js'
import type { TopicOutput } from '../runtime/outputs.js'
import { REDRIVEN } from './redriven-store.js'

type RawLogRecord = LogRecord<Buffer | null, Buffer | null>

export interface SendBackOptions extends LetterRules {
  /** All topics that letters go to. */
  readonly targets: readonly string[]
  /** Letters a second; undefined: as fast as it goes. */
  readonly rate: number | undefined
}

/** What a meter of the commit counts: letters of one outcome. */
export function outcomeName({ kind, target, failure }: Fate): string {
  return JSON.stringify([kind, target, failure?.error ?? '', failure?.step ?? ''])
}

/**
 * Sends dead letters where they belong, and notes in the transaction that it did; those noted before, and those that stay, are passed over.
 *
 * Order: kept. Offsets: pass all. State: a bit a letter. Memory: outputs of the transaction.
 */
export function sendBack({ targets, rate, ...rules }: SendBackOptions): OperatorFunction<RawRecord, RawRecord> {
  return (letters) =>
    new Observable<RawRecord>((target) => {
      const { store, outputs, meter, standing } = using(targets)
      const chosen = letters.pipe(choose(rules, (offset) => store.has(offset)))
      return (rate === undefined ? chosen : chosen.pipe(paced(rate)))
        .pipe(
          operate<Chosen, RawRecord>('redrive', (next) => ({
            next({ letter, fate }) {
              const output = outputs.get(fate.target) as TopicOutput
              if (fate.kind === 'park') output.appendRaw(letter, letter.source.partition % output.partitions)
              else write(output, letter, fate, standing.producerId)
              store.add(letter.offset)
              meter(outcomeName(fate)).count++
              mark(letter, Mark.processed)
              next.next(letter)
            },
          })),
        )
        .subscribe(target)
    })
}

interface Chosen {
  readonly letter: RawLogRecord
  readonly fate: Fate
}

function using(targets: readonly string[]) {
  const slice = activeSlice('redrive')
  return {
    store: slice.store('redrive', REDRIVEN),
    outputs: slice.outputs('redrive', targets),
    meter: (name: string) => slice.meter(name),
    standing: slice.standing,
  }
}

function choose(rules: LetterRules, isDone: (offset: number) => boolean): OperatorFunction<RawRecord, Chosen> {
  return operate<RawRecord, Chosen>('redrive', (target) => ({
    next(given) {
      const letter = given as RawLogRecord
      if (isDone(letter.offset)) return
      const fate = fateOf(letter, rules)
      if (fate.kind === 'send' || fate.kind === 'park') target.next({ letter, fate })
    },
  }))
}

/** Lets letters pass at a pace, by the cluster's clock, over all tasks and transactions. */
function paced<T>(rate: number): OperatorFunction<T, T> {
  return (items) =>
    new Observable<T>((target) => {
      const { clock, waits, shared } = sliceParts()
      const pace = shared(() => ({ next: clock.monotonic() }))
      const waitFor = (item: T): Observable<T> => {
        const now = clock.monotonic()
        const at = Math.max(pace.next, now)
        pace.next = at + 1_000 / rate
        if (at - now < 1) return of(item)
        return new Observable<T>((ready) => {
          waits.outside++
          const cancel = clock.after(at - now, () => {
            ready.next(item)
            ready.complete()
          })
          return () => {
            cancel()
            waits.outside--
          }
        })
      }
      return items.pipe(concatMap(waitFor)).subscribe(target)
    })
}

function sliceParts() {
  const slice = activeSlice('redrive')
  return { clock: slice.clock, waits: slice.waits, shared: <T>(create: () => T): T => slice.shared('redrive rate', create) }
}

/** As it was before it failed, but for headers that count how often, and tell whose record it is. */
function write(output: TopicOutput, letter: RawLogRecord, { target, partition, failure, times }: Fate, producerId: bigint): void {
  const names = new Set(Object.keys(letter.headers).filter(isFailureHeader))
  const lineage = lineageOf(failure, target)
  const headers = replaceHeaders(letter.source.bytes, letter.headersStart(), names, {
    [REDRIVEN_HEADER]: String(times + 1),
    ...(lineage === undefined ? {} : { [LINEAGE_HEADER]: lineageHeader(lineage, producerId) }),
  })
  const to = partition >= 0 && partition < output.partitions ? partition : output.partitionOfRaw(letter)
  output.appendWhole(letter.with({ timestamp: timeOf(letter, failure) }), to, letter.key, letter.value, headers)
}
