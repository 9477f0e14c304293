import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { resolveRegistry } from './kafka/distribution.js'
import { freePorts } from './kafka/ports.js'
import { until } from './until.js'

/** A schema registry of the test's own. */
export interface Registry {
  /** Of its interface for clients of Confluent's. */
  readonly url: string
  stop(): Promise<void>
}

/** Starts Apicurio's, which keeps everything in memory. */
export async function startRegistry(): Promise<Registry> {
  const directory = await resolveRegistry()
  const [port] = (await freePorts(1)) as [number]
  const jar = readdirSync(directory).find((name) => name.endsWith('-runner.jar')) as string
  const server = spawn(
    'java',
    // It lives for seconds.
    ['-XX:TieredStopAtLevel=1', '-Xmx512m', `-Dquarkus.http.port=${port}`, '-Dquarkus.http.host=127.0.0.1', '-jar', join(directory, jar)],
    { stdio: ['ignore', 'pipe', 'ignore'] },
  )
  const reap = (): void => void server.kill('SIGKILL')
  process.once('exit', reap)
  let said = ''
  server.stdout.on('data', (part: Buffer) => (said = (said + part.toString()).slice(-4_000)))
  const url = `http://127.0.0.1:${port}/apis/ccompat/v7`
  await until(
    async () => {
      if (server.exitCode !== null) throw new Error(`the registry ended with ${server.exitCode}:\n${said}`)
      return (await fetch(`${url}/subjects`)).ok
    },
    { what: 'the registry to answer', within: 100_000, every: 100 },
  )
  return {
    url,
    async stop() {
      process.off('exit', reap)
      if (server.exitCode !== null || server.signalCode !== null) return
      const ended = once(server, 'exit')
      server.kill('SIGKILL')
      await ended
    },
  }
}
