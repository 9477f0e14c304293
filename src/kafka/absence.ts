import { Refused, Unanswered } from './errors.js'

/** Brokers that come back from an outage learn in seconds which topics there are. */
const BELIEVED_MS = 5_000

/**
 * What a row of failed tries says of a topic that is reported missing. Brokers that come back from an outage do not know all topics at
 * once, so that is believed where nothing else went wrong before, or when it has been said for long enough.
 */
export class Absence {
  /** Since when it has been said, and nothing else. */
  private since: number | undefined
  private onlyThat = true

  /** One more failure in the row. */
  note(failure: unknown, now: number): void {
    if (isMissing(failure)) this.since ??= now
    else {
      this.since = undefined
      this.onlyThat = false
    }
  }

  /** How long it has been said, in milliseconds; undefined where the last failure was another. */
  lasts(now: number): number | undefined {
    return this.since === undefined ? undefined : now - this.since
  }

  /** What the row ends with when its time is up: `failure`, the last of it, or that nobody could say yet. */
  verdict(failure: unknown, now: number): unknown {
    const lasts = this.lasts(now)
    if (lasts === undefined || this.onlyThat || lasts >= BELIEVED_MS) return failure
    return new Unanswered(`${(failure as Error).message}; brokers that were away may not know it yet`, false, failure)
  }
}

function isMissing(failure: unknown): boolean {
  return failure instanceof Refused && failure.info.as === 'MISSING_TOPIC'
}
