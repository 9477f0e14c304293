import { systemClock } from '../record/clock.js'
import type { Api, Throttled } from './protocol/api.js'
import { addressName, type Address } from './address.js'
import type { Connection, Pause } from './connections.js'
import { Unanswered, closedError } from './errors.js'

/**
 * Sockets of one purpose, one to a broker, opened when first needed.
 *
 * Kafka answers one request at a time on a connection and holds some answers back (a fetch without data, a join): what must
 * not wait for those has a lane of its own.
 */
export class Lane {
  private readonly connections = new Map<string, Promise<Connection>>()
  private readonly pauses = new Map<string, Pause>()
  private closed: Error | undefined

  constructor(private readonly open: (address: Address) => Promise<Connection>) {}

  /** @throws Unanswered, LogError */
  async send<Request, Response extends Throttled>(
    address: Address,
    api: Api<Request, Response>,
    body: Request,
    timeoutMs: number,
    onSent?: () => void,
  ): Promise<Response> {
    const until = systemClock.monotonic() + timeoutMs
    const connection = await this.to(address, timeoutMs)
    return connection.request(api, body, Math.max(1, until - systemClock.monotonic()), onSent)
  }

  /** A connection, opened within the time. @throws Unanswered, LogError */
  to(address: Address, timeoutMs: number): Promise<Connection> {
    return within(this.opened(address), timeoutMs, addressName(address))
  }

  private async opened(address: Address): Promise<Connection> {
    if (this.closed !== undefined) throw this.closed
    const name = addressName(address)
    const current = this.connections.get(name)
    if (current !== undefined) {
      const connection = await current
      if (connection.usable) return connection
      if (this.connections.get(name) === current) this.connections.delete(name)
      return this.opened(address)
    }
    const opening = this.open(address)
    this.connections.set(name, opening)
    try {
      const connection = await opening
      connection.keepTo(this.pauseOf(name))
      if (this.closed !== undefined) connection.close(this.closed)
      return connection
    } catch (error) {
      if (this.connections.get(name) === opening) this.connections.delete(name)
      throw this.closed ?? error
    }
  }

  private pauseOf(name: string): Pause {
    let pause = this.pauses.get(name)
    if (pause === undefined) this.pauses.set(name, (pause = { until: 0 }))
    return pause
  }

  has(address: Address): boolean {
    return this.connections.has(addressName(address))
  }

  /** Drops what is under way; the next request opens new connections. */
  reset(error: Error): void {
    for (const connection of this.connections.values())
      connection.then(
        (open) => open.close(error),
        () => {},
      )
    this.connections.clear()
  }

  close(): void {
    this.closed = closedError()
    this.reset(this.closed)
  }
}

/** Gives up waiting, not what is waited for: others may wait for the same connection. */
export function within<T>(work: Promise<T>, timeoutMs: number, what: string): Promise<T> {
  return new Promise((resolve, reject) => {
    const cancelTimer = systemClock.after(timeoutMs, () => reject(new Unanswered(`no connection to ${what} within ${timeoutMs} ms`, false)))
    work.then(resolve, reject).finally(() => cancelTimer())
  })
}
