import { execFile, spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { freePorts } from './kafka/ports.js'
import { until } from './until.js'

export interface RedisOptions {
  /** Default: a free one. */
  readonly port?: number
  /** Makes it a sentinel that watches the Redis on this port under the name 'main'. */
  readonly sentinelOf?: number
  /** Further lines of its configuration. */
  readonly config?: Readonly<Record<string, string>>
}

/** A Redis of the test's own, to be hurt as it likes. */
export interface RedisServer {
  readonly url: string
  readonly port: number
  signal(signal: NodeJS.Signals): void
  /** Ends it, if it still runs, and starts it again on the same port: with `empty`, or where nothing is saved, without its data. */
  restart(how?: { readonly empty?: boolean }): Promise<void>
  stop(): Promise<void>
}

async function launch(port: number, directory: string, { sentinelOf, config = {} }: RedisOptions): Promise<ChildProcess> {
  const common = { port: String(port), bind: '127.0.0.1', dir: directory }
  const watching =
    sentinelOf === undefined
      ? undefined
      : {
          'sentinel monitor': `main 127.0.0.1 ${sentinelOf} 1`,
          'sentinel down-after-milliseconds': 'main 1000',
          'sentinel failover-timeout': 'main 3000',
        }
  const lines = { ...common, ...(watching ?? { save: '""', appendonly: 'no', 'repl-diskless-sync-delay': '0' }), ...config }
  const file = join(directory, 'redis.conf')
  await writeFile(
    file,
    Object.entries(lines)
      .map(([name, value]) => `${name} ${value}\n`)
      .join(''),
  )
  const child = spawn('redis-server', [file, ...(watching === undefined ? [] : ['--sentinel'])], { stdio: ['ignore', 'pipe', 'pipe'] })
  // A test process that is ended in the middle leaves none behind.
  const reap = (): void => void child.kill('SIGKILL')
  process.once('exit', reap)
  child.once('exit', () => process.off('exit', reap))
  let said = ''
  for (const stream of [child.stdout, child.stderr]) stream?.on('data', (data: Buffer) => (said += data.toString()))
  let failure: Error | undefined
  child.on('error', (error: NodeJS.ErrnoException) => {
    failure =
      error.code === 'ENOENT'
        ? new Error(
            'redis-server is not there: install it (Debian: apt-get install redis-server; macOS: brew install redis). For tests that only use one, REDIS_URL can name one that runs',
          )
        : error
  })
  await until(
    async () => {
      if (failure === undefined && child.exitCode !== null) failure = new Error(`redis-server ended with ${child.exitCode}:\n${said}`)
      return failure !== undefined || (await answers(port))
    },
    { what: `redis-server on port ${port}` },
  )
  if (failure !== undefined) throw failure
  return child
}

function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => socket.write('PING\r\n'))
    socket.on('data', (data) => {
      socket.destroy()
      // Also one that wants a password first.
      resolve(/^(\+PONG|-NOAUTH)/.test(data.toString()))
    })
    socket.on('error', () => resolve(false))
  })
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const ended = once(child, 'exit')
  child.kill('SIGKILL')
  await ended
}

/** What redis-cli prints, line by line: the answer as somebody sees it who knows nothing of our code. */
export async function redisCli({ port }: Pick<RedisServer, 'port'>, ...args: readonly string[]): Promise<string[]> {
  const { stdout } = await promisify(execFile)('redis-cli', ['-p', String(port), ...args], { maxBuffer: 64 * 1024 * 1024 })
  return stdout.split('\n').slice(0, -1)
}

/** Starts a redis-server that saves nothing. */
export async function startRedis(options: RedisOptions = {}): Promise<RedisServer> {
  const port = options.port ?? ((await freePorts(1))[0] as number)
  const directory = await mkdtemp(join(tmpdir(), 'millrace-redis-'))
  let child = await launch(port, directory, options)
  return {
    url: `redis://127.0.0.1:${port}`,
    port,
    signal: (signal) => void child.kill(signal),
    async restart({ empty = false } = {}) {
      await end(child)
      if (empty) {
        await rm(directory, { recursive: true })
        await mkdir(directory)
      }
      child = await launch(port, directory, options)
    },
    async stop() {
      await end(child)
      await rm(directory, { recursive: true, force: true })
    },
  }
}

export interface RedisCluster {
  readonly nodes: readonly RedisServer[]
  stop(): Promise<void>
}

/** Three nodes without replicas that share the slots. */
export async function startRedisCluster(): Promise<RedisCluster> {
  const ports = await freePorts(6)
  const nodes = await Promise.all(
    [0, 1, 2].map((i) =>
      startRedis({ port: ports[i] as number, config: { 'cluster-enabled': 'yes', 'cluster-port': String(ports[i + 3]) } }),
    ),
  )
  const addresses = nodes.map(({ port }) => `127.0.0.1:${port}`)
  await redisCli(nodes[0] as RedisServer, '--cluster', 'create', ...addresses, '--cluster-yes')
  await until(
    async () =>
      (await Promise.all(nodes.map((node) => redisCli(node, 'CLUSTER', 'INFO')))).every((info) => info[0]?.includes(':ok') === true),
    { what: 'the cluster', within: 20_000 },
  )
  return { nodes, stop: async () => void (await Promise.all(nodes.map((node) => node.stop()))) }
}

/** The Redis named by REDIS_URL, or one started for the test. */
export async function someRedis(): Promise<{ readonly url: string; stop(): Promise<void> }> {
  const given = process.env['REDIS_URL']
  return given === undefined || given.trim() === '' ? startRedis() : { url: given.trim(), stop: async () => {} }
}
