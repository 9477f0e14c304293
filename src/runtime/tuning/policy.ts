/** What is adapted. */
export type Setting = 'prefetchBytes' | 'maxRecords' | 'maxBytes' | 'concurrency'

/** A setting as it is, and how far it may go. */
export interface Knob {
  readonly setting: Setting
  /** Of 'concurrency': the step. */
  readonly step: string | undefined
  readonly value: number
  readonly min: number
  readonly max: number
}

/** What happened since the look before. */
export interface TuneSample {
  readonly recordsPerSecond: number
  readonly keepsUp: boolean
  /** Of the time, 0 to 1. */
  readonly calling: number
  readonly waiting: number
  /** Of the transactions, 0 to 1: those that ended because they held all they may, before their time. */
  readonly fullOfRecords: number
  readonly fullOfBytes: number
  /** How full the memory is, and the part of the time that collecting garbage takes. */
  readonly memory: number
  readonly collecting: number
  /** Of each step with calls, how long one takes, and how long all of them took together. */
  readonly calls: readonly CallSample[]
  /** Whether a circuit breaker holds calls back. */
  readonly broken: boolean
}

export type Why = 'memory' | 'calls' | 'records' | 'bytes' | 'fetch' | 'slower' | 'no gain'

export interface Change {
  readonly setting: Setting
  readonly step: string | undefined
  readonly from: number
  readonly to: number
  readonly why: Why
}

/** A change that is kept only if it does some good. */
interface Trial extends Change {
  readonly recordsPerSecond: number
  readonly meanMs: number | undefined
}

export interface CallSample {
  readonly step: string
  readonly meanMs: number
  readonly allMs: number
}

export interface TuneState {
  readonly trial: Trial | undefined
  /** Looks at which nothing is done, so that a change shows. */
  readonly settling: number
  /** What was seen at the last looks, one after the other, and at how many. */
  readonly seen: { readonly what: string; readonly looks: number }
  /** Looks for which a knob is left alone, by its name. */
  readonly resting: ReadonlyMap<string, number>
  /** How long calls of a step take when all is well. */
  readonly usual: ReadonlyMap<string, number>
}

export interface TuneRules {
  /** A reason is acted on when it was seen at so many looks in a row; short memory at once. */
  readonly looks: number
  readonly settling: number
  /** Looks until what did no good is tried again. */
  readonly patience: number
  /** More of something is kept if the rate rises so much, less of it if the rate stays as good. */
  readonly better: number
  readonly asGood: number
}

export const RULES: TuneRules = { looks: 2, settling: 1, patience: 30, better: 1.1, asGood: 0.9 }
export const NOTHING_SEEN: TuneState = {
  trial: undefined,
  settling: 0,
  seen: { what: '', looks: 0 },
  resting: new Map(),
  usual: new Map(),
}

const MOST_OF = 0.5
const TIGHT = 0.8
const ROOMY = 0.6
const COLLECTING = 0.25
const FACTOR = 2
/** Calls that take so much longer than usual may be too many at once. */
const SLOWER = 2
/** Fewer at once are kept if each takes so much less. */
const QUICKER = 0.75

export function nameOf({ setting, step }: Pick<Knob, 'setting' | 'step'>): string {
  return step === undefined ? setting : `${setting} of ${step}`
}

/**
 * What to change after a look, if anything: one setting at a time, by the factor of two, within its bounds.
 *
 * Memory comes first: what is read ahead, then what a transaction holds, is halved. Else something is raised where records wait, by what
 * the time goes to, and the calls of a step are made fewer at once where they take longer than usual. That is a trial: its rate decides
 * whether it stays, and what did no good is left alone for long. A reason has to last, and a change to show, before anything else is done.
 */
export function decide(
  state: TuneState,
  sample: TuneSample,
  knobs: readonly Knob[],
  rules: TuneRules = RULES,
): { readonly state: TuneState; readonly change: Change | undefined } {
  const resting = new Map([...state.resting].flatMap(([name, looks]) => (looks > 1 ? [[name, looks - 1] as const] : [])))
  const usual = usualOf(state, sample)
  const now: TuneState = { ...state, resting, usual }
  if (state.settling > 0) return { state: { ...now, settling: state.settling - 1 }, change: undefined }

  if (sample.memory >= TIGHT || sample.collecting >= COLLECTING) {
    const knob = knobs.find(({ setting, value, min }) => (setting === 'prefetchBytes' || setting === 'maxBytes') && value > min)
    if (knob === undefined) return { state: { ...now, trial: undefined, seen: NOTHING_SEEN.seen }, change: undefined }
    const change = moved(knob, knob.value / FACTOR, 'memory')
    return { state: { ...now, trial: undefined, seen: NOTHING_SEEN.seen, ...afterwards(now, change, rules, rules.patience) }, change }
  }

  const { trial } = state
  if (trial === undefined) return next(now, sample, knobs, rules)
  const call = sample.calls.find(({ step }) => step === trial.step)
  // Whichever way it ends, calls take as long as they take now.
  const known = call === undefined ? usual : new Map([...usual, [call.step, call.meanMs]])
  const judged: TuneState = { ...now, trial: undefined, usual: known }
  const knob = knobs.find((one) => nameOf(one) === nameOf(trial))
  // The step may be gone, with the knob.
  if (knob === undefined || knob.value !== trial.to || isGood(trial, sample, call, rules)) {
    // The same reason need not show for as long again.
    return next({ ...judged, seen: { ...state.seen, looks: rules.looks - 1 } }, sample, knobs, rules)
  }
  const change = moved(knob, trial.from, 'no gain')
  return { state: { ...judged, seen: NOTHING_SEEN.seen, ...afterwards(judged, change, rules, rules.patience) }, change }
}

function isGood(trial: Trial, { keepsUp, recordsPerSecond }: TuneSample, call: CallSample | undefined, rules: TuneRules): boolean {
  if (trial.to > trial.from) return keepsUp || recordsPerSecond > trial.recordsPerSecond * rules.better
  const quicker = call === undefined || call.meanMs <= (trial.meanMs ?? 0) * QUICKER
  return quicker && (keepsUp || recordsPerSecond >= trial.recordsPerSecond * rules.asGood)
}

function next(
  state: TuneState,
  sample: TuneSample,
  knobs: readonly Knob[],
  rules: TuneRules,
): { state: TuneState; change: Change | undefined } {
  const free = knobs.filter((knob) => !state.resting.has(nameOf(knob)))
  const found = reason(state, sample, free)
  if (found === undefined) return { state: { ...state, trial: undefined, seen: NOTHING_SEEN.seen }, change: undefined }
  const [knob, why] = found
  const what = `${why} ${nameOf(knob)}`
  const looks = state.seen.what === what ? state.seen.looks + 1 : 1
  if (looks < rules.looks) return { state: { ...state, trial: undefined, seen: { what, looks } }, change: undefined }
  const change = moved(knob, why === 'slower' ? knob.value / FACTOR : knob.value * FACTOR, why)
  const meanMs = sample.calls.find(({ step }) => step === knob.step)?.meanMs
  const trial = { ...change, recordsPerSecond: sample.recordsPerSecond, meanMs }
  return { state: { ...state, trial, seen: { what, looks }, ...afterwards(state, change, rules, 0) }, change }
}

/** Why a knob is to be turned, and which. */
function reason(state: TuneState, sample: TuneSample, free: readonly Knob[]): readonly [Knob, Why] | undefined {
  const of = (setting: Setting, step?: string): Knob | undefined => free.find((knob) => knob.setting === setting && knob.step === step)
  const { calls, keepsUp, broken, calling, waiting, fullOfRecords, fullOfBytes, memory } = sample
  if (!broken) {
    for (const { step, meanMs } of calls) {
      const knob = of('concurrency', step)
      if (knob !== undefined && knob.value > knob.min && meanMs >= SLOWER * (state.usual.get(step) ?? meanMs)) return [knob, 'slower']
    }
  }
  if (keepsUp) return undefined
  const raising = (knob: Knob | undefined): knob is Knob => knob !== undefined && knob.value < knob.max
  if (calling >= MOST_OF && !broken) {
    for (const { step } of [...calls].sort((a, b) => b.allMs - a.allMs)) {
      const knob = of('concurrency', step)
      if (raising(knob)) return [knob, 'calls']
    }
  }
  const records = of('maxRecords')
  if (fullOfRecords >= MOST_OF && raising(records)) return [records, 'records']
  if (memory >= ROOMY) return undefined
  const bytes = of('maxBytes')
  if (fullOfBytes >= MOST_OF && raising(bytes)) return [bytes, 'bytes']
  const ahead = of('prefetchBytes')
  return waiting >= MOST_OF && raising(ahead) ? [ahead, 'fetch'] : undefined
}

function moved({ setting, step, value, min, max }: Knob, to: number, why: Why): Change {
  return { setting, step, from: value, to: Math.min(max, Math.max(min, Math.round(to))), why }
}

function afterwards(state: TuneState, change: Change, rules: TuneRules, rest: number): Pick<TuneState, 'settling' | 'resting'> {
  return { settling: rules.settling, resting: rest > 0 ? new Map([...state.resting, [nameOf(change), rest]]) : state.resting }
}

/** The shortest that was seen, as far as is known. */
function usualOf({ usual }: TuneState, { calls }: TuneSample): ReadonlyMap<string, number> {
  return new Map([...usual, ...calls.map(({ step, meanMs }) => [step, Math.min(meanMs, usual.get(step) ?? meanMs)] as const)])
}
