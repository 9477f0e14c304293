import { spawn, type ChildProcess } from 'node:child_process'
import { closeSync, openSync } from 'node:fs'
import { once } from 'node:events'
import type { Socket } from 'node:net'
import { classPath } from './distribution.js'

export interface JvmOptions {
  readonly libs: string
  readonly main: string
  readonly args: readonly string[]
  readonly jvm?: readonly string[]
  /** Takes stdout and stderr, appended. */
  readonly logFile: string
  /** A directory to remove when this process dies before it could clean up. */
  readonly scratch: string
}

export interface Jvm {
  readonly pid: number
  /** Undefined while it runs. */
  readonly exit: string | undefined
  /** Resolves when it has ended. */
  ended(): Promise<void>
  signal(signal: NodeJS.Signals): void
}

const logging = [
  '-Dorg.slf4j.simpleLogger.showDateTime=true',
  '-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS',
  '-Dorg.slf4j.simpleLogger.showShortLogName=true',
  '-Dorg.slf4j.simpleLogger.log.org.apache.kafka.common.config.AbstractConfig=warn',
  // Starting is most of what a test broker does: the quick compiler and the simple collector start fastest.
  '-XX:TieredStopAtLevel=1',
  '-XX:+UseSerialGC',
  '-Xshare:auto',
]

/** A Java program that never outlives this process. */
export function startJvm(options: JvmOptions): Jvm {
  const log = openSync(options.logFile, 'a')
  let child: ChildProcess
  try {
    child = spawn('java', [...logging, ...(options.jvm ?? []), '-cp', classPath(options.libs), options.main, ...options.args], {
      stdio: ['ignore', log, log],
    })
  } finally {
    closeSync(log)
  }
  const { pid } = child
  if (pid === undefined) throw new Error('java could not be started')
  const watchdog = guard(pid, options.scratch)
  let exit: string | undefined
  const ended = once(child, 'exit').then(([code, signal]: (number | string | null)[]) => {
    exit = signal === null ? `exit code ${code}` : `signal ${signal}`
    watchdog.kill('SIGKILL')
  })
  // A test that forgets to stop its broker still ends, and the watchdog then sees to the broker: the child holds the
  // event loop only while someone waits for it.
  child.unref()
  return {
    pid,
    get exit() {
      return exit
    },
    ended() {
      child.ref()
      return ended
    },
    signal: (signal) => void child.kill(signal),
  }
}

/**
 * Kills the JVM when this process goes away, however it goes: the shell's stdin is a pipe whose other end only this
 * process holds, so end-of-file there means that it is dead, SIGKILL included. Signals of the terminal are ignored, as
 * they would end the watchdog before its turn.
 */
function guard(pid: number, scratch: string): ChildProcess {
  const script = [
    'trap "" INT TERM HUP QUIT',
    'while read -r _; do :; done',
    'kill -KILL "$1" 2>/dev/null',
    'tries=0',
    'while kill -0 "$1" 2>/dev/null && [ "$tries" -lt 20 ]; do sleep 0.1; tries=$((tries + 1)); done',
    'rm -rf "$2"',
  ].join('\n')
  const shell = spawn('sh', ['-c', script, 'sh', String(pid), scratch], { stdio: ['pipe', 'ignore', 'ignore'] })
  shell.unref()
  // A child's pipes are sockets, which keep the event loop alive of themselves.
  const pipe = shell.stdin as unknown as Socket | null
  pipe?.unref()
  return shell
}

/** Runs a Java program that ends by itself, within so many milliseconds, and returns what it printed. */
export function runJava(
  libs: string,
  main: string,
  args: readonly string[],
  within: number,
): Promise<{ readonly stdout: string; readonly stderr: string }> {
  return new Promise((done, failed) => {
    const child = spawn('java', [...logging, '-cp', classPath(libs), main, ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: within,
      killSignal: 'SIGKILL',
    })
    const stdout: Buffer[] = []
    const stderr: Buffer[] = []
    child.stdout.on('data', (chunk: Buffer) => stdout.push(chunk))
    child.stderr.on('data', (chunk: Buffer) => stderr.push(chunk))
    child.on('error', failed)
    child.on('close', (code, signal) => {
      const result = { stdout: Buffer.concat(stdout).toString(), stderr: Buffer.concat(stderr).toString() }
      if (code === 0) done(result)
      else
        failed(
          new Error(
            `${main} ended with ${signal === null ? `exit code ${code}` : `${signal}, perhaps after ${within} ms`}:\n${result.stderr.slice(-4_000)}`,
          ),
        )
    })
  })
}
