import type { GroupOptions, GroupProtocol, JoinResult, JoinedMember } from '../log/port.js'
import type { Clock } from '../record/clock.js'

interface Waiting<T> {
  readonly resolve: (value: T) => void
  readonly reject: (error: Error) => void
}

/** A request the coordinator answers later. A newer one of the same member takes its place. */
class Held<T> {
  private waiting: Waiting<T> | undefined

  get held(): boolean {
    return this.waiting !== undefined
  }

  hold(superseded: Error): Promise<T> {
    this.fail(superseded)
    return new Promise<T>((resolve, reject) => (this.waiting = { resolve, reject }))
  }

  answer(value: T): void {
    const { waiting } = this
    this.waiting = undefined
    waiting?.resolve(value)
  }

  fail(error: Error): void {
    const { waiting } = this
    this.waiting = undefined
    waiting?.reject(error)
  }
}

/** One member of a group, as the coordinator sees it. */
export class Member {
  assignment = Buffer.alloc(0)
  readonly join = new Held<JoinResult>()
  readonly sync = new Held<Buffer>()
  private cancelSession: () => void = () => {}

  constructor(
    readonly id: string,
    readonly options: GroupOptions,
    public protocols: readonly GroupProtocol[],
    private readonly clock: Clock,
    private readonly onExpired: (member: Member) => void,
  ) {}

  get instanceId(): string | undefined {
    return this.options.instanceId
  }

  /** As the leader sees it, by the protocol in force. */
  joinedBy(protocol: string): JoinedMember {
    const { metadata } = this.protocols.find(({ name }) => name === protocol) as GroupProtocol
    return { memberId: this.id, instanceId: this.instanceId, metadata }
  }

  offers(protocol: string): boolean {
    return this.protocols.some(({ name }) => name === protocol)
  }

  /** Whether it said just this when it last joined. */
  said(protocols: readonly GroupProtocol[]): boolean {
    return (
      protocols.length === this.protocols.length &&
      protocols.every(({ name, metadata }, i) => name === this.protocols[i]?.name && metadata.equals(this.protocols[i].metadata))
    )
  }

  /** A sign of life: the session begins anew. */
  touch(): void {
    this.cancelSession()
    this.cancelSession = this.clock.after(this.options.sessionTimeoutMs, () => {
      // Who waits for an answer of the coordinator is not silent.
      if (this.join.held || this.sync.held) this.touch()
      else this.onExpired(this)
    })
  }

  /** Out of the group: what waits is told why. */
  drop(error: Error): void {
    this.cancelSession()
    this.join.fail(error)
    this.sync.fail(error)
  }
}
