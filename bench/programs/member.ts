// A member that copies until it is told to stop (SIGTERM): a line when it is ready, one for each commit, and at the end what it used.
import { kafka, shutdownSignal, silentLogger, toTopic, withTransaction } from 'millrace'
import { job } from './report.js'

const { brokers, input, output, commitMs } = job()
const { GROUP = '', INSTANCE } = process.env
const say = (line: object): void => void process.stdout.write(`${JSON.stringify(line)}\n`)
const cluster = kafka({ brokers, logger: silentLogger })
let records = 0
let cpu = process.cpuUsage()

process.on('SIGUSR2', () => (cpu = process.cpuUsage()))
await new Promise<void>((resolve, reject) => {
  cluster
    .source({
      group: GROUP,
      topics: [input],
      signal: shutdownSignal(),
      ...(INSTANCE !== undefined && { instanceId: INSTANCE }),
    })
    .pipe(withTransaction((stream) => stream.pipe(toTopic({ topic: output })), { every: commitMs }))
    .subscribe({
      next: (commit) => {
        records += commit.records
        say({ at: Date.now(), records: commit.records })
      },
      error: reject,
      complete: resolve,
    })
})
const { user, system } = process.cpuUsage(cpu)
say({ done: records, cpuMicros: user + system, peakMegabytes: process.resourceUsage().maxRSS / 1024 })
await cluster.close()
