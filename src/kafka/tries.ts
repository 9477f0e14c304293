import { Refused, mayBeDone } from './errors.js'

/** What is known of the tries of one request, or of several that belong together. */
export class Tries {
  /** One was sent and not answered: it may yet arrive. */
  unanswered = false
  /** One may have been carried out: it was not answered, or with an error that does not tell. */
  mayBeDone = false

  /** One more; `send` says when the request is given to the socket, and fails with Refused where the answer is an error. */
  async make<T>(send: (onSent: () => void) => Promise<T>): Promise<T> {
    let sent = false
    try {
      return await send(() => (sent = true))
    } catch (error) {
      if (sent && !(error instanceof Refused)) this.unanswered = true
      if (this.unanswered || mayBeDone(error)) this.mayBeDone = true
      throw error
    }
  }
}
