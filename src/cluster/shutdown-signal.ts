/**
 * An AbortSignal that aborts on SIGTERM or SIGINT, for `source({ signal })`: the pipeline then commits, leaves its group and
 * completes. A second signal ends the process at once, as it would have without this.
 *
 * @example
 * cluster.source({ group: 'g', topics: ['in'], signal: shutdownSignal() })
 */
export function shutdownSignal(signals: readonly NodeJS.Signals[] = ['SIGTERM', 'SIGINT']): AbortSignal {
  const controller = new AbortController()
  const onSignal = (): void => {
    for (const name of signals) process.removeListener(name, onSignal)
    controller.abort()
  }
  for (const name of signals) process.on(name, onSignal)
  return controller.signal
}
