import { reactionTo } from '../log/error.js'
import type { GroupMember, LogProducer, Position } from '../log/port.js'
import type { Logger } from '../record/logger.js'
import { errorMessage } from '../record/error.js'

/** Commits positions of a group one request after the other, each with what has been done since. */
export class ConsumeCommits {
  private member: GroupMember | undefined
  private pending = new Map<string, Position>()
  private running: Promise<void> | undefined
  private failure: { readonly error: unknown } | undefined

  constructor(
    private readonly producer: LogProducer,
    private readonly logger: Logger,
    private readonly onLost: () => void,
  ) {}

  begin(member: GroupMember): void {
    this.member = member
    this.pending.clear()
  }

  /** All before the position is done. @throws what a commit failed with that trying again does not cure */
  done(position: Position): void {
    if (this.failure !== undefined) throw this.failure.error
    this.pending.set(`${position.topic}/${position.partition}`, position)
    this.running ??= this.run()
  }

  /** Resolves when all that is done is committed, or cannot be. */
  async finish(): Promise<void> {
    await this.running
    if (this.pending.size > 0) await (this.running ??= this.run())
    if (this.failure !== undefined) throw this.failure.error
  }

  private async run(): Promise<void> {
    try {
      // What is done in the same turn goes together.
      await Promise.resolve()
      while (this.pending.size > 0) {
        const positions = this.pending
        this.pending = new Map()
        if (!(await this.commit([...positions.values()]))) {
          for (const [name, position] of positions) if (!this.pending.has(name)) this.pending.set(name, position)
          return
        }
      }
    } catch (error) {
      this.failure = { error }
    } finally {
      this.running = undefined
    }
  }

  /** Returns whether it is committed. */
  private async commit(positions: readonly Position[]): Promise<boolean> {
    try {
      await this.producer.commit(positions, this.member)
      return true
    } catch (error) {
      const reaction = reactionTo(error)
      if (reaction === 'fatal') throw error
      this.logger.debug({ error: errorMessage(error) }, 'a commit of positions failed')
      if (reaction === 'lost') this.onLost()
      if (reaction === 'reinit') await this.producer.init()
      else await this.producer.abort()
      return false
    }
  }
}
