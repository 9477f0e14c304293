/** So many promises of serdes are waited for at once. */
export const SERDE_CALLS = 256

/** Does something for each of 0 ... n - 1, no more than 256 at a time. Rejects with what one rejected with, when none is under way. */
export async function atOnce(n: number, work: (i: number) => Promise<unknown>): Promise<void> {
  let next = 0
  let failure: { readonly error: unknown } | undefined
  const worker = async (): Promise<void> => {
    while (next < n && failure === undefined) {
      try {
        await work(next++)
      } catch (error) {
        failure ??= { error }
      }
    }
  }
  await Promise.all(Array.from({ length: Math.min(n, SERDE_CALLS) }, worker))
  if (failure !== undefined) throw failure.error
}
