import { Child } from '../support/child.js'
import { Hopeless, until } from '../support/until.js'

const PROGRAM = new URL('./pipelines/member.ts', import.meta.url)

export interface CommitLine {
  readonly at: number
  readonly records: number
  readonly processed: number
  readonly filtered: number
  readonly duplicate: number
  readonly late: number
  readonly failed: number
  readonly partitions: readonly number[]
}

function endedBadly({ exit, lines }: Child): boolean {
  if (exit === undefined || exit.code === 0 || exit.signal === 'SIGKILL') return false
  // Told to end while it was still being loaded.
  return !(exit.signal === 'SIGTERM' && lines.length === 0)
}

/** The last that it logged: what it waits for. */
function saysOf({ errors }: Child): string {
  const last = errors.trimEnd().split('\n').at(-1)
  return last === undefined || last === '' ? '' : ` and says "${last}"`
}

/** The members of a group, each a process. */
export class Fleet {
  readonly members: Child[] = []
  /** Members that may end with an error, as the fault of the run is theirs. */
  readonly excused = new Set<Child>()

  constructor(private readonly env: Readonly<Record<string, string>>) {}

  start(env: Readonly<Record<string, string>> = {}): Child {
    const member = new Child(PROGRAM, { ...this.env, ...env })
    this.members.push(member)
    return member
  }

  get running(): Child[] {
    return this.members.filter((member) => member.running)
  }

  commitsOf(member: Child): CommitLine[] {
    return member.lines.filter((line) => line.startsWith('{')).map((line) => JSON.parse(line) as CommitLine)
  }

  /** The partitions that were committed by anybody since a moment. */
  committedSince(moment: number): Map<number, number> {
    const first = new Map<number, number>()
    for (const member of this.members) {
      const { lines } = member
      for (let i = lines.length - 1; i >= 0; i--) {
        const { at, partitions } = JSON.parse(lines[i] as string) as CommitLine
        if (at < moment) break
        for (const partition of partitions) first.set(partition, Math.min(at, first.get(partition) ?? at))
      }
    }
    return first
  }

  /** The partitions a member committed last. */
  lastPartitions(member: Child): readonly number[] {
    return [
      ...new Set(
        this.commitsOf(member)
          .slice(-30)
          .flatMap(({ partitions }) => partitions),
      ),
    ]
  }

  /** Waits until each of these partitions was committed after the moment. Resolves to how long that took. */
  async recovered(partitions: readonly number[], moment: number, within: number): Promise<number> {
    await this.wait(
      () => {
        this.complain()
        const first = this.committedSince(moment)
        return partitions.every((partition) => first.has(partition))
      },
      within,
      () => `partitions ${partitions.filter((partition) => !this.committedSince(moment).has(partition)).join(', ')} to be committed again`,
    )
    const first = this.committedSince(moment)
    return Math.max(...partitions.map((partition) => (first.get(partition) as number) - moment))
  }

  /** What is not to happen has happened: a member ended by itself. */
  problems(): string[] {
    return this.members
      .filter((member) => !this.excused.has(member) && endedBadly(member))
      .map((member) => `a member ended with ${JSON.stringify(member.exit)}: ${member.errors.slice(-1_500)}`)
      .concat(
        this.members.flatMap((member) =>
          this.commitsOf(member)
            .filter(
              ({ records, processed, filtered, duplicate, late, failed }) => records !== processed + filtered + duplicate + late + failed,
            )
            .map((line) => `a commit does not add up: ${JSON.stringify(line)}`),
        ),
      )
  }

  /** Waits until a member has its share of the work. */
  async works(member: Child, within: number): Promise<void> {
    await this.wait(
      () => member.lines.length > 0,
      within,
      () => 'a member to commit',
    )
  }

  async term(member: Child): Promise<void> {
    member.kill('SIGTERM')
    await member.ended
  }

  async kill(member: Child): Promise<void> {
    member.kill('SIGKILL')
    await member.ended
  }

  killAll(): void {
    for (const member of this.members) member.kill('SIGKILL')
  }

  state(): string {
    return this.members
      .map((member, i) => `member ${i} ${member.running ? `runs${saysOf(member)}` : 'ended'}, ${member.lines.length} commits`)
      .join('; ')
  }

  /** What was waited for in vain is told as it is in the end. */
  private async wait(condition: () => boolean, within: number, what: () => string): Promise<void> {
    try {
      await until(condition, { within, every: 50 })
    } catch (error) {
      throw new Error(`waited for ${what()}, ${within} ms at most; ${this.state()}`, { cause: error })
    }
  }

  private complain(): void {
    if (this.running.length > 0) return
    throw new Hopeless(new Error(`no member runs any more: ${this.problems().join('\n')}`))
  }
}
