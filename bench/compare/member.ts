import { spawn, type ChildProcess } from 'node:child_process'
import { fileURLToPath } from 'node:url'

export interface Done {
  readonly done: number
  readonly cpuMicros: number
  readonly peakMegabytes: number
}

/** A process that copies, and what it says of itself. */
export class Member {
  private readonly child: ChildProcess
  private rest = ''
  /** When it committed, and how many records. */
  readonly commits: { readonly at: number; readonly records: number }[] = []
  private last: Done | undefined
  readonly ended: Promise<void>

  constructor(
    env: Readonly<Record<string, string>>,
    readonly onCommit: (at: number, records: number) => void = () => {},
  ) {
    const script = fileURLToPath(new URL('../programs/member.ts', import.meta.url))
    this.child = spawn(process.execPath, ['--import', 'tsx', script], {
      env: { ...process.env, ...env },
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    this.child.stdout?.on('data', (data: Buffer) => this.read(data.toString()))
    this.ended = new Promise((resolve) => this.child.on('close', () => resolve()))
  }

  get pid(): number {
    return this.child.pid as number
  }

  signal(name: NodeJS.Signals): void {
    this.child.kill(name)
  }

  async stop(): Promise<Done> {
    this.signal('SIGTERM')
    await this.ended
    if (this.last === undefined) throw new Error('a member ended without a word')
    return this.last
  }

  private read(text: string): void {
    const lines = (this.rest + text).split('\n')
    this.rest = lines.pop() ?? ''
    for (const line of lines) {
      const said = JSON.parse(line) as { at: number; records: number } | Done
      if ('done' in said) this.last = said
      else {
        this.commits.push(said)
        this.onCommit(said.at, said.records)
      }
    }
  }
}
