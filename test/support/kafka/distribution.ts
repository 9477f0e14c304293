import { spawn, spawnSync } from 'node:child_process'
import { createHash, randomUUID } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { mkdir, open, readFile, rename, rm } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { until } from '../until.js'

const version = '4.3.1'
/** The last before Kafka 4: the first transaction protocol, and the group coordinator of old. */
const olderVersion = '3.9.2'
/** It brings a logger of its own along. */
const notWanted = 'slf4j-reload4j,reload4j'
const pom = join(import.meta.dirname, 'pom.xml')

const howToGetKafka =
  'The Kafka tests need Java 17 or newer and Maven: apt-get install openjdk-17-jdk-headless maven. ' +
  'Or set KAFKA_BROKERS=host:port to use a cluster that already runs.'

/** The broker, its storage tool and the console tools, as a directory of jars. */
export function resolveKafka(release: '4.3' | '3.9' = '4.3'): Promise<string> {
  return resolve('broker', release === '4.3' ? version : olderVersion)
}

/** Kafka Streams and its dependencies, as a directory of jars. Only benchmarks want it. */
export function resolveKafkaStreams(): Promise<string> {
  return resolve('streams', version)
}

/** The same with the driver that runs a topology without a broker, as a directory of jars. */
export function resolveStreamsTestDriver(): Promise<string> {
  return resolve('streams-test', version)
}

/** The class path that holds every jar of a directory. */
export function classPath(libs: string): string {
  return join(libs, '*')
}

function cacheRoot(): string {
  return process.env['MILLRACE_CACHE'] ?? join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'millrace')
}

export function requireJava(): void {
  if (!runs('java')) throw new Error(`java was not found. ${howToGetKafka}`)
}

function runs(program: 'java' | 'mvn'): boolean {
  return spawnSync(program, ['-version'], { stdio: 'ignore' }).error === undefined
}

/** Apicurio's schema registry, the last that runs on Java 17, with the storage it keeps in memory. */
const registryVersion = '2.6.13.Final'

/** Where its distribution is, once it was fetched. */
function cachedRegistry(): string {
  return join(cacheRoot(), `apicurio-registry-${registryVersion}`, 'app')
}

export function resolveRegistry(): Promise<string> {
  requireJava()
  const directory = cachedRegistry()
  return cached(directory, () =>
    download(`apicurio-registry-${registryVersion}`, directory, (partial) => [
      'dependency:unpack',
      `-Dartifact=io.apicurio:apicurio-registry-app:${registryVersion}:tar.gz:all`,
      `-DoutputDirectory=${partial}`,
    ]),
  )
}

async function resolve(profile: 'broker' | 'streams' | 'streams-test', release: string): Promise<string> {
  requireJava()
  const name = `${{ broker: 'kafka', streams: 'kafka-streams', 'streams-test': 'kafka-streams-test' }[profile]}-${release}`
  // A changed pom.xml gives another directory, so a cache filled by an older checkout is never taken for this one.
  const fingerprint = createHash('sha256').update(readFileSync(pom)).digest('hex').slice(0, 8)
  const libs = join(cacheRoot(), name, fingerprint)
  return cached(libs, () =>
    download(name, libs, (partial) => [
      '-f',
      pom,
      `-P${profile}`,
      `-Dkafka.version=${release}`,
      'dependency:copy-dependencies',
      '-DincludeScope=runtime',
      `-DexcludeArtifactIds=${notWanted}`,
      `-DoutputDirectory=${partial}`,
    ]),
  )
}

/** A directory that is there, or that one process fetches while others wait. */
async function cached(directory: string, fetch: () => Promise<void>): Promise<string> {
  if (existsSync(directory)) return directory
  await mkdir(join(directory, '..'), { recursive: true })
  const unlock = await lock(`${directory}.lock`, () => existsSync(directory))
  try {
    if (!existsSync(directory)) await fetch()
  } finally {
    await unlock()
  }
  return directory
}

/** Into a directory beside the final one, renamed when complete: the final name never holds half a distribution. */
async function download(name: string, directory: string, goal: (partial: string) => readonly string[]): Promise<void> {
  if (!runs('mvn')) throw new Error(`mvn was not found. ${howToGetKafka}`)
  process.stderr.write(`fetching ${name} with Maven into ${directory} (once) ...\n`)
  const partial = `${directory}.${randomUUID()}.partial`
  const started = performance.now()
  try {
    await mkdir(partial)
    await maven(['-B', '-q', ...goal(partial)], partial)
    await rename(partial, directory)
  } finally {
    await rm(partial, { recursive: true, force: true })
  }
  process.stderr.write(`fetched ${name} in ${((performance.now() - started) / 1000).toFixed(1)} s\n`)
}

/** In a directory of its own: some goals leave things where they run. */
function maven(args: readonly string[], cwd: string): Promise<void> {
  return new Promise((done, failed) => {
    const child = spawn('mvn', args, { cwd, stdio: ['ignore', 'pipe', 'pipe'] })
    let output = ''
    const keep = (chunk: Buffer): void => {
      output = (output + chunk.toString()).slice(-4_000)
    }
    child.stdout.on('data', keep)
    child.stderr.on('data', keep)
    child.on('error', failed)
    child.on('close', (code) => {
      if (code === 0) done()
      else failed(new Error(`Maven could not fetch Kafka (exit code ${code}):\n${output}\n${howToGetKafka}`))
    })
  })
}

/**
 * One process at a time fetches; Maven's own repository does not take two writers well. The lock is a file holding its
 * owner's pid, so that one left behind by a killed process is broken by the next.
 */
async function lock(path: string, nolongerNeeded: () => boolean): Promise<() => Promise<void>> {
  return until(
    async () => {
      if (nolongerNeeded()) return async () => {}
      try {
        const file = await open(path, 'wx')
        await file.writeFile(String(process.pid))
        await file.close()
        return () => rm(path, { force: true })
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
        if (await isAbandoned(path)) await rm(path, { force: true })
        return undefined
      }
    },
    { what: `another process to finish fetching Kafka (its lock is ${path})`, within: 600_000, every: 100 },
  )
}

async function isAbandoned(path: string): Promise<boolean> {
  const pid = Number(await readFile(path, 'utf8').catch(() => ''))
  // An empty file is a lock whose owner has yet to write its pid.
  if (!Number.isInteger(pid) || pid <= 0) return false
  try {
    process.kill(pid, 0)
    return false
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ESRCH'
  }
}
