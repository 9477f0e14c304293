import type { Position } from '../log/port.js'
import type { Tally } from './accounting.js'
import type { CommitFate } from './commit-fate.js'
import type { Round } from './round.js'
import type { Task } from './task.js'

/** What a transaction did, and what is heard of its commit. */
export class CommitUnderWay {
  readonly done: Promise<void>
  readonly fate: { state: CommitFate['state'] } = { state: 'open' }
  error: unknown
  /** What it waits for. */
  stage: 'sinking' | 'sending' | 'committing' = 'sinking'
  private finish!: () => void

  constructor(
    readonly round: Round,
    readonly tasks: readonly Task[],
    /** When it began, by the monotonic clock. */
    readonly began: number,
  ) {
    this.done = new Promise((resolve) => (this.finish = resolve))
  }

  offsets: readonly Position[] = []
  /** Whether one of them is another than was committed before: else they do not tell whether it took effect. */
  moves = false
  /** Records written, changelogs left out. */
  outputs = 0
  outputsByTopic: readonly (readonly [topic: string, records: number])[] = []
  /** Of the tasks for which it changes something. */
  tallies: readonly { readonly task: Task; readonly tally: Tally }[] = []
  /** Records of each task, to know where to look if they are refused. */
  records: ReadonlyMap<Task, number> = new Map<Task, number>()

  committed(): void {
    this.fate.state = 'committed'
    this.finish()
  }

  failed(error: unknown): void {
    this.fate.state = 'failed'
    this.error = error
    this.finish()
  }
}
