import type { Stage, Stages } from './stages.js'

/** One step of a pipeline that has a name, and what it stands between. */
export interface PlanStep {
  /** 'toTopic invoices', "window 'window'". */
  readonly name: string
  /** The piece made by `compose` that it stands in. */
  readonly piece: string | undefined
  /** Which of the steps it takes its records from, by index; undefined where they come from the source. */
  readonly after: number | undefined
  /** Topics it writes to. */
  readonly writes: readonly string[]
  /** Names of the stores it keeps. */
  readonly keeps: readonly string[]
  /** Topics of the pipeline's own that it brings records back from. */
  readonly readsBack: readonly string[]
}

export type Deed = 'writes' | 'keeps' | 'readsBack'

/** Who does what, as the dry subscription shows it. RxJS's own operators have no name and are left out. */
export class Topology {
  private readonly deeds: { readonly stage: Stage | undefined; readonly operator: string; readonly deed: Deed; readonly what: string }[] =
    []

  constructor(private readonly stages: Stages) {}

  /** What is subscribed now does this. */
  note(deed: Deed, operator: string, what: string): void {
    this.deeds.push({ stage: this.stages.current, operator, deed, what })
  }

  steps(pieces: ReadonlySet<string>): readonly PlanStep[] {
    const named = this.stages.steps(pieces)
    const index = new Map(named.map(({ stage }, i) => [stage, i]))
    const names = new Map(named.map(({ name }, i) => [name, i]))
    const others: string[] = []
    // An operator that subscribes others of its own, or stands behind a `merge`, is known by its name.
    const doer = ({ stage, operator }: { readonly stage: Stage | undefined; readonly operator: string }): number => {
      const [plain = operator] = operator.split(' in ')
      const found = (stage && index.get(stage)) ?? names.get(plain)
      if (found !== undefined) return found
      if (!others.includes(operator)) others.push(operator)
      return named.length + others.indexOf(operator)
    }
    const deeds = this.deeds.map((one) => ({ ...one, by: doer(one) }))
    const of = (deed: Deed, by: number): readonly string[] => [
      ...new Set(deeds.filter((one) => one.deed === deed && one.by === by).map(({ what }) => what)),
    ]
    return [...named, ...others.map((name) => ({ name, piece: undefined, after: undefined }))].map(({ name, piece, after }, i) => ({
      name,
      piece,
      after: after && index.get(after),
      writes: of('writes', i),
      keeps: of('keeps', i),
      readsBack: of('readsBack', i),
    }))
  }
}
