import { Absence } from './absence.js'
import { asReaction, refreshAfter } from './errors.js'
import type { PartitionFetch } from './fetch-group.js'
import { retryDelay } from './retry.js'

/** A topic that is reported missing is waited for so long, whatever went wrong before: it may have been created just now. */
const MISSING_MS = 5_000

/**
 * Plans another try of each, or gives the failure to whoever takes next: where trying again cannot help, or has not for `patienceMs`.
 * Returns whether it gave one.
 */
export function postpone(fetches: readonly PartitionFetch[], failure: unknown, patienceMs: number, now: number): boolean {
  const again = refreshAfter(failure) !== undefined
  let failed = false
  for (const fetch of fetches) {
    if (fetch.dropped || fetch.failed) continue
    if (fetch.failures === 0) {
      fetch.failingSince = now
      fetch.absence = new Absence()
    }
    fetch.absence.note(failure, now)
    const missing = fetch.absence.lasts(now)
    if (again && (missing === undefined ? now - fetch.failingSince < patienceMs : missing < MISSING_MS)) {
      fetch.retryAt = now + retryDelay(fetch.failures++)
    } else {
      fetch.fail(asReaction(failure, `fetching ${fetch.topic}/${fetch.partition}`))
      fetch.failures = 0
      failed = true
    }
  }
  return failed
}
