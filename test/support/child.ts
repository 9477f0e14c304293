import { spawn, type ChildProcess } from 'node:child_process'
import { fileURLToPath } from 'node:url'

export interface ChildExit {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
}

/** A test program as a process of its own, killed with the test if it is still there. */
export class Child {
  readonly lines: string[] = []
  errors = ''
  private readonly child: ChildProcess
  /** Undefined while it runs. */
  exit: ChildExit | undefined
  readonly ended: Promise<ChildExit>

  constructor(program: URL, env: Readonly<Record<string, string>>, args: readonly string[] = []) {
    this.child = spawn(process.execPath, ['--import', 'tsx', fileURLToPath(program), ...args], {
      env: { ...process.env, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    let rest = ''
    this.child.stdout?.on('data', (data: Buffer) => {
      const parts = (rest + data.toString()).split('\n')
      rest = parts.pop() ?? ''
      this.lines.push(...parts)
    })
    this.child.stderr?.on('data', (data: Buffer) => (this.errors += data.toString()))
    this.ended = new Promise((resolve) =>
      this.child.on('exit', (code, signal) => {
        this.exit = { code, signal }
        resolve(this.exit)
      }),
    )
  }

  get running(): boolean {
    return this.child.exitCode === null && this.child.signalCode === null
  }

  kill(signal: NodeJS.Signals): void {
    this.child.kill(signal)
  }
}
