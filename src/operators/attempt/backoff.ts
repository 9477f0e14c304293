/** Pauses between tries, in milliseconds. */
export interface Backoff {
  /** Longest pause before the second try; it doubles for each further one. */
  readonly delay: number
  readonly maxDelay: number
  /** 'full': any time from none to the longest, so that what failed together does not come again together. */
  readonly jitter: 'full' | 'none'
}

/** The pause after so many failed tries, 1 or more. */
export function backoffMs({ delay, maxDelay, jitter }: Backoff, failures: number, random: () => number = Math.random): number {
  const longest = Math.min(maxDelay, delay * 2 ** (failures - 1))
  return jitter === 'none' ? longest : random() * longest
}
