import { createHash } from 'node:crypto'
import { inspect } from 'node:util'
import type { Logger } from '../../src/index.js'
import type { EmbeddedBroker } from '../../src/testing/index.js'

/** Everything that is seen of a run, as one number: two runs of one scenario have the same. */
export class Trace {
  private readonly hash = createHash('sha256')
  /** Lines, where they are kept. */
  readonly lines: string[] = []
  private now: () => number = () => 0

  constructor(private readonly kept = false) {}

  note(what: string): void {
    const line = `${this.now()} ${what}`
    this.hash.update(`${line}\n`)
    if (this.kept) this.lines.push(line)
  }

  get digest(): string {
    return this.hash.copy().digest('hex')
  }

  /** Each line of the log, handed on. */
  logger(next: Logger): Logger {
    const level =
      (name: keyof Logger): Logger[keyof Logger] =>
      (fields, message) => {
        this.note(`${name} ${message} ${inspect(fields, { depth: 4, breakLength: Infinity })}`)
        next[name](fields, message)
      }
    return { debug: level('debug'), info: level('info'), warn: level('warn'), error: level('error') }
  }

  /** Each request to a broker. */
  watch(broker: EmbeddedBroker, now: () => number): void {
    this.now = now
    const { faults } = broker
    const due = faults.due.bind(faults)
    faults.due = (at, names) => {
      this.note(`${at} ${names.join(' ')}`)
      return due(at, names)
    }
  }
}
