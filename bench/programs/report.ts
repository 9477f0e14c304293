/** What a measured program prints on its last line. */
export interface Report {
  readonly records: number
  readonly seconds: number
  readonly cpuMicrosPerRecord: number
  readonly peakMegabytes: number
  readonly duplicates?: number
  readonly redisMicrosPerRecord?: number
}

/** Measures from the first record to the last commit: joining a group takes seconds that say nothing about speed. */
export class Stopwatch {
  private began = 0
  private cpu = process.cpuUsage()

  get started(): boolean {
    return this.began > 0
  }

  start(): void {
    if (this.started) return
    this.began = performance.now()
    this.cpu = process.cpuUsage()
  }

  report(records: number, more: Partial<Report> = {}): void {
    const seconds = (performance.now() - this.began) / 1000
    const { user, system } = process.cpuUsage(this.cpu)
    const report: Report = {
      records,
      seconds,
      cpuMicrosPerRecord: (user + system) / records,
      peakMegabytes: process.resourceUsage().maxRSS / 1024,
      ...more,
    }
    console.log(JSON.stringify(report))
  }
}

export interface Job {
  readonly brokers: string[]
  /** The first input. */
  readonly input: string
  /** Of a join: the other side, a topic or a table. */
  readonly other: string
  readonly output: string
  readonly records: number
  readonly commitMs: number
}

export function job(): Job {
  const { KAFKA_BROKERS = '', INPUT_TOPIC = '', OTHER_TOPIC = '', OUTPUT_TOPIC = '', RECORDS = '0', COMMIT_MS = '100' } = process.env
  return {
    brokers: KAFKA_BROKERS.split(','),
    input: INPUT_TOPIC,
    other: OTHER_TOPIC,
    output: OUTPUT_TOPIC,
    records: Number(RECORDS),
    commitMs: Number(COMMIT_MS),
  }
}

/** The work of MODE=json, in all programs the same: parsed, one field changed, written again. */
export function change(value: Buffer | string | null | undefined): object {
  const order = JSON.parse(String(value)) as { amount: number }
  order.amount += 1
  return order
}
