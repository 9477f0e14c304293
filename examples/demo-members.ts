// The two members of the demo's group. One is killed in the middle of a transaction, as by kill -9: its outputs and offsets are written and
// not committed. In this process its connections break; on Kafka it is a process of its own, which gets the signal.
import { fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { EMPTY, Observable, catchError, map } from 'rxjs'
import { embedded, kafka, silentLogger, type Cluster, type Commit, type TraceEvent } from 'millrace'
import { createEmbeddedBroker } from 'millrace/testing'
import { delaysPipeline, type DelaysOptions } from './delays.js'

export type Counts = Pick<Commit, 'records' | 'processed' | 'late' | 'failed' | 'outputs'>

export interface Members {
  readonly cluster: Cluster
  /** What a member has committed, until the cluster closes. */
  member(name: string, options: DelaysOptions): Observable<Counts>
  /** The same, killed in its so-manieth transaction. */
  doomed(name: string, options: DelaysOptions, transactions: number): Observable<Counts>
}

const countsOf = ({ records, processed, late, failed, outputs }: Commit): Counts => ({ records, processed, late, failed, outputs })

const run = (on: Cluster, name: string, options: DelaysOptions): Observable<Counts> =>
  delaysPipeline(on, { ...options, instanceId: name }).pipe(map(countsOf))

/** Calls `kill` when the so-manieth transaction has all in it, and is not committed. */
function killer(transactions: number, kill: () => void): (event: TraceEvent) => void {
  let left = transactions
  return ({ step }) => {
    if (step === 'offsets-acknowledged' && --left === 0) kill()
  }
}

export function inThisProcess(): Members {
  const broker = createEmbeddedBroker()
  const cluster = embedded({ broker })
  return {
    cluster,
    member: (name, options) => run(cluster, name, options),
    doomed(name, options, transactions) {
      const connections: { close(): Promise<void> }[] = []
      const client = (): ReturnType<typeof broker.client> => {
        const opened = broker.client()
        connections.push(opened)
        return opened
      }
      const trace = killer(transactions, () => connections.forEach((one) => void one.close()))
      const own = embedded({ broker: { ...broker, client }, trace, logger: silentLogger })
      return run(own, name, options).pipe(catchError(() => EMPTY))
    },
  }
}

export function onKafka(brokers: readonly string[]): Members {
  const cluster = kafka({ brokers })
  return {
    cluster,
    member: (name, options) => run(cluster, name, options),
    doomed: (name, options, transactions) =>
      new Observable((subscriber) => {
        const child = fork(fileURLToPath(import.meta.url), [JSON.stringify({ brokers, name, options, transactions })])
        child.on('message', (counts) => subscriber.next(counts as Counts))
        child.on('exit', (code, signal) => {
          if (signal === 'SIGKILL') subscriber.complete()
          else subscriber.error(new Error(`the member that was to be killed ended with ${code ?? signal}`))
        })
        return () => void child.kill()
      }),
  }
}

// The process of the member that is killed.
if (process.send !== undefined && process.argv[1] === fileURLToPath(import.meta.url)) {
  const given = JSON.parse(process.argv[2] as string) as { brokers: string[]; name: string; options: DelaysOptions; transactions: number }
  const trace = killer(given.transactions, () => process.kill(process.pid, 'SIGKILL'))
  run(kafka({ brokers: given.brokers, trace }), given.name, given.options).subscribe((counts) => process.send?.(counts))
}
