import { logError } from '../log/error.js'
import type { LogError } from '../log/port.js'

/** How long something may be used. Closing it ends what waits inside. */
export class Lifetime {
  closed = false
  private readonly enders = new Set<(error: Error) => void>()

  /** @throws LogError CLOSED */
  check(): void {
    if (this.closed) throw closedError()
  }

  /** Runs `action`, but rejects with CLOSED as soon as this ends. */
  async during<T>(action: () => T | Promise<T>): Promise<T> {
    this.check()
    return new Promise<T>((resolve, reject) => {
      this.enders.add(reject)
      const done = (): boolean => this.enders.delete(reject)
      Promise.resolve()
        .then(action)
        .then(
          (value) => (done(), resolve(value)),
          (error: unknown) => (done(), reject(error as Error)),
        )
    })
  }

  end(): void {
    this.closed = true
    for (const end of this.enders) end(closedError())
    this.enders.clear()
  }
}

export function closedError(): LogError {
  return logError('CLOSED', 'fatal', 'the connection to the embedded broker was closed while this was under way, or before')
}
