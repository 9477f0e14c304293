import { spawn, type ChildProcess } from 'node:child_process'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { promisify } from 'node:util'
import { execFile } from 'node:child_process'
import { classPath, resolveKafka } from '../support/kafka/distribution.js'

const run = promisify(execFile)
const SOURCES = join(import.meta.dirname, 'checker')

export interface Verdict {
  readonly problems: readonly string[]
  readonly counts: Readonly<Record<string, number>>
}

/** What the checker is told of a run. */
export interface Subject {
  readonly name: string
  readonly rules: string
  readonly group: string
  readonly inputs: readonly string[]
  /** Topics by role. */
  readonly outputs: Readonly<Record<string, string>>
  readonly changelogs: readonly string[]
  /** Topics the pipeline writes for itself to read. */
  readonly inlets: readonly string[]
}

/**
 * The Java program that writes inputs and has the last word on what came out: on the official client, and with none of the code under test.
 * One process for all runs; ends with this one.
 */
export class Checker {
  private readonly waiting = new Map<number, { readonly resolve: (result: unknown) => void; readonly reject: (error: Error) => void }>()
  private orders = 0
  private errors = ''

  private constructor(
    private readonly process: ChildProcess,
    private readonly scratch: string,
  ) {
    let rest = ''
    process.stdout?.on('data', (data: Buffer) => {
      const lines = (rest + data.toString()).split('\n')
      rest = lines.pop() ?? ''
      for (const line of lines) this.answered(line)
    })
    process.stderr?.on('data', (data: Buffer) => (this.errors = (this.errors + data.toString()).slice(-4_000)))
    process.on('exit', () => {
      for (const { reject } of this.waiting.values()) reject(new Error(`the checker ended:\n${this.errors}`))
      this.waiting.clear()
    })
  }

  static async start(): Promise<Checker> {
    const libs = await resolveKafka()
    const scratch = await mkdtemp(join(tmpdir(), 'millrace-checker-'))
    const sources = (await readdir(SOURCES)).filter((name) => name.endsWith('.java')).map((name) => join(SOURCES, name))
    await run('javac', ['-nowarn', '-d', scratch, '-cp', classPath(libs), ...sources])
    const options = ['-Dorg.slf4j.simpleLogger.defaultLogLevel=error', '-XX:TieredStopAtLevel=1', '-XX:+UseSerialGC', '-Xmx768m']
    const child = spawn('java', [...options, '-cp', [scratch, classPath(libs)].join(delimiter), 'Daemon'], {
      stdio: ['pipe', 'pipe', 'pipe'],
    })
    return new Checker(child, scratch)
  }

  async order<T = unknown>(order: string, brokers: readonly string[], more: object): Promise<T> {
    if (this.process.exitCode !== null) throw new Error(`the checker has ended:\n${this.errors}`)
    const id = this.orders++
    const answer = new Promise<unknown>((resolve, reject) => this.waiting.set(id, { resolve, reject }))
    this.process.stdin?.write(`${JSON.stringify({ id, order, brokers: brokers.join(','), ...more })}\n`)
    return (await answer) as T
  }

  /** Leaves what was left open, such as transactions, as a process does that is killed. */
  async stop(): Promise<void> {
    const ended = new Promise((resolve) => this.process.once('exit', resolve))
    if (this.process.exitCode === null && this.process.kill('SIGKILL')) await ended
    await rm(this.scratch, { recursive: true, force: true })
  }

  private answered(line: string): void {
    const { id, result, error } = JSON.parse(line) as { readonly id: number; readonly result?: unknown; readonly error?: string }
    const order = this.waiting.get(id)
    this.waiting.delete(id)
    if (error !== undefined) order?.reject(new Error(error))
    else order?.resolve(result)
  }
}
