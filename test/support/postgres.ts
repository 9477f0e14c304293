import { execFile, spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync } from 'node:fs'
import { chmod, chown, mkdtemp, readFile, readdir, rename, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { freePorts } from './kafka/ports.js'
import { until } from './until.js'

const run = promisify(execFile)

/** A PostgreSQL of the test's own, to be hurt as it likes. */
export interface PostgresServer {
  readonly url: string
  /** To the server and all its backends. */
  signal(signal: NodeJS.Signals): Promise<void>
  /** Ends it as a crash would, if it still runs, and starts it again on the same port and data. */
  restart(): Promise<void>
  stop(): Promise<void>
}

/** The server refuses to run as root. */
const NOBODY = 65_534
const asNobody = process.getuid?.() === 0 ? { uid: NOBODY, gid: NOBODY } : {}

/** Debian's package keeps the server's programs off the path. */
function program(name: string): string {
  const root = '/usr/lib/postgresql'
  const versions = existsSync(root) ? readdirSync(root).filter((version) => existsSync(join(root, version, 'bin', name))) : []
  const newest = versions.sort((a, b) => Number(b) - Number(a))[0]
  return newest === undefined ? name : join(root, newest, 'bin', name)
}

/** Rows of a query, as psql gives them: not through our code. */
export async function psql(url: string, sql: string): Promise<string[]> {
  const { stdout } = await run(program('psql'), [url, '-AtqX', '-v', 'ON_ERROR_STOP=1', '-c', sql], { maxBuffer: 64 * 1024 * 1024 })
  return stdout.split('\n').filter((line) => line !== '')
}

/** Starts a PostgreSQL, of whose data nothing is synced to disk: it may be killed, the machine may not. `standbyOf`: a replica of this one. */
export async function startPostgres(settings: Readonly<Record<string, string>> = {}, standbyOf?: string): Promise<PostgresServer> {
  const [port] = (await freePorts(1)) as [number]
  const directory = await mkdtemp(join(tmpdir(), 'millrace-postgres-'))
  if ('uid' in asNobody) await chown(directory, NOBODY, NOBODY)
  await chmod(directory, 0o700)
  const data = join(directory, 'data')
  if (standbyOf === undefined) await newData(data)
  else await run(program('pg_basebackup'), ['-D', data, '-d', standbyOf, '-R', '-X', 'stream', '-c', 'fast', '--no-sync'], asNobody)
  const url = `postgres://test@127.0.0.1:${port}/postgres`
  const launch = async (): Promise<ChildProcess> => {
    const given = { fsync: 'off', max_connections: '50', ...settings }
    const options = Object.entries(given).flatMap(([name, value]) => ['-c', `${name}=${value}`])
    const server = spawn(program('postgres'), ['-D', data, '-p', String(port), '-k', directory, '-h', '127.0.0.1', ...options], {
      ...asNobody,
      stdio: ['ignore', 'ignore', 'pipe'],
    })
    const reap = (): void => void server.kill('SIGKILL')
    process.once('exit', reap)
    server.once('exit', () => process.off('exit', reap))
    let said = ''
    server.stderr?.on('data', (part: Buffer) => (said = (said + part.toString()).slice(-4_000)))
    await until(
      () => {
        if (server.exitCode !== null) throw new Error(`postgres ended with ${server.exitCode}:\n${said}`)
        return psql(url, 'SELECT 1').then(() => true)
      },
      { what: `postgres on port ${port}`, within: 20_000, every: 50 },
    )
    return server
  }
  let server = await launch()
  const end = async (): Promise<void> => {
    if (server.exitCode !== null || server.signalCode !== null) return
    const ended = once(server, 'exit')
    const all = await family(server.pid as number)
    for (const pid of [...all, server.pid as number]) kill(pid, 'SIGKILL')
    await ended
    await until(() => all.every((pid) => !existsSync(`/proc/${pid}`)), { what: 'the backends to be gone' })
  }
  return {
    url,
    async signal(signal) {
      for (const pid of [server.pid as number, ...(await family(server.pid as number))]) kill(pid, signal)
    },
    async restart() {
      await end()
      server = await launch()
    },
    async stop() {
      await end()
      await rm(directory, { recursive: true, force: true })
    },
  }
}

/** An empty database: initialised once for all tests on this machine, copied for each. */
async function newData(data: string): Promise<void> {
  const { stdout } = await run(program('initdb'), ['--version'])
  const template = join(tmpdir(), `millrace-postgres-template-${process.getuid?.() ?? 0}-${stdout.replace(/\W+/g, '-')}`)
  if (!existsSync(template)) {
    const made = await mkdtemp(`${template}-`)
    if ('uid' in asNobody) await chown(made, NOBODY, NOBODY)
    await run(program('initdb'), ['-D', made, '-U', 'test', '-A', 'trust', '-E', 'UTF8', '--locale=C', '--no-sync'], asNobody)
    // Where another was faster, its one is there.
    await rename(made, template).catch(() => rm(made, { recursive: true, force: true }))
  }
  await run('cp', ['-a', template, data])
}

/** The database named by DATABASE_URL, or one started for the test. */
export async function somePostgres(): Promise<{ readonly url: string; stop(): Promise<void> }> {
  const given = process.env['DATABASE_URL']
  return given === undefined || given.trim() === '' ? startPostgres() : { url: given.trim(), stop: async () => {} }
}

function kill(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal)
  } catch {
    // It has ended by itself meanwhile.
  }
}

/** Backends are in sessions of their own, so no signal to a group reaches them. */
async function family(parent: number): Promise<number[]> {
  const pids = (await readdir('/proc')).map(Number).filter((pid) => pid > 0)
  const parents = await Promise.all(
    pids.map(async (pid) => {
      const stat = await readFile(`/proc/${pid}/stat`, 'latin1').catch(() => '')
      return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1])
    }),
  )
  return pids.filter((_, i) => parents[i] === parent)
}
