import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { resolveStreamsTestDriver } from '../kafka/distribution.js'
import { runJava } from '../kafka/jvm.js'
import type { Scenario } from './scenarios.js'

const WITHIN = 120_000

/** What Kafka Streams makes of each scenario: one Java program for all of them. */
export async function runStreams(scenarios: readonly Scenario[]): Promise<readonly (readonly string[])[]> {
  const libs = await resolveStreamsTestDriver()
  const scratch = await mkdtemp(join(tmpdir(), 'millrace-streams-'))
  try {
    const [given, results] = [join(scratch, 'scenarios.json'), join(scratch, 'results.json')]
    await writeFile(given, JSON.stringify(scenarios))
    try {
      await runJava(libs, join(import.meta.dirname, 'StreamsOracle.java'), [given, results], WITHIN)
    } catch (error) {
      throw new Error(
        'Kafka Streams could not be run; it takes a JDK, as a JRE compiles nothing (apt-get install openjdk-17-jdk-headless)',
        {
          cause: error,
        },
      )
    }
    return JSON.parse(await readFile(results, 'utf8')) as string[][]
  } finally {
    await rm(scratch, { recursive: true, force: true })
  }
}
