import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, rename, rm } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { classPath, resolveKafkaStreams } from '../../test/support/kafka/distribution.js'
import type { ProgramName } from './workload.js'

/** How a program is started. */
export interface Command {
  readonly file: string
  readonly args: readonly string[]
  readonly env: Readonly<Record<string, string>>
}

/** A program that can be run here; or why it cannot. */
export type Program = { readonly version: string; command(scratch: string): Promise<Command> } | { readonly absent: string }

const here = (name: string): string => fileURLToPath(new URL(`../programs/${name}`, import.meta.url))
const peers = join(process.env['MILLRACE_CACHE'] ?? join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'millrace'), 'peers')

function node(program: string, version: string, executable = process.execPath): Program {
  const profile = process.env['PROFILE_DIR'] === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${process.env['PROFILE_DIR']}`]
  return {
    version,
    command: async () => ({ file: executable, args: [...profile, '--import', 'tsx', here(`${program}.ts`)], env: {} }),
  }
}

/** This checkout on another release of Node, which npm brings. */
function onNode(major: number): Program {
  const print = 'console.log(JSON.stringify([process.execPath, process.version]))'
  const { status, stdout, stderr, error } = spawnSync('npx', ['--yes', '--package', `node@${major}`, 'node', '-e', print], {
    encoding: 'utf8',
    timeout: 300_000,
  })
  if (status !== 0) return { absent: `does not install here: ${(error?.message ?? stderr.trim().split('\n').at(-1) ?? '').slice(0, 160)}` }
  const [executable, version] = JSON.parse(stdout) as [string, string]
  return node('millrace', `this checkout, Node ${version}`, executable)
}

function java(source: string): Program {
  return {
    version: '4.3.1',
    async command(scratch) {
      const jars = classPath(await resolveKafkaStreams())
      const classes = join(scratch, 'classes')
      // Compiled beforehand: the launcher of source files would add the compiler to what the program uses.
      if (!existsSync(join(classes, `${source}.class`))) {
        const { status, stderr } = spawnSync('javac', ['-cp', jars, '-sourcepath', here(''), '-d', classes, here(`${source}.java`)], {
          encoding: 'utf8',
        })
        if (status !== 0) throw new Error(`javac ${source}.java failed: ${stderr}`)
      }
      return {
        file: 'java',
        args: ['-Xmx2g', '-cp', `${jars}:${classes}`, source],
        env: { STATE_DIR: await mkdtemp(join(scratch, 'state-')) },
      }
    },
  }
}

/** Runs an installer into a directory beside the final one; what it said when it failed is why the program is absent. */
async function installed(name: string, install: (into: string) => [string, ...string[]][]): Promise<string | { absent: string }> {
  const target = join(peers, name)
  if (existsSync(target)) return target
  await mkdir(peers, { recursive: true })
  const partial = await mkdtemp(join(peers, `${name}-partial-`))
  process.stderr.write(`installing ${name} into ${target} (once)\n`)
  for (const [file, ...args] of install(partial)) {
    const { status, stderr, error } = spawnSync(file, args, { cwd: partial, encoding: 'utf8', timeout: 300_000 })
    if (status !== 0) {
      await rm(partial, { recursive: true, force: true })
      const lines = (stderr ?? '').split('\n').filter((line) => /error|not ok|cannot|failed/i.test(line))
      return { absent: `does not install here: ${(lines.at(0) ?? error?.message ?? `${file} ended with ${status}`).slice(0, 160)}` }
    }
  }
  await rename(partial, target)
  return target
}

async function platformatic(): Promise<Program> {
  const version = '1.35.0'
  const modules = await installed(`platformatic-kafka-${version}`, (into) => [
    ['npm', 'install', '--silent', '--no-save', '--prefix', into, `@platformatic/kafka@${version}`],
  ])
  if (typeof modules !== 'string') return modules
  return {
    version,
    command: async () => ({
      file: process.execPath,
      args: [here('platformatic.mjs')],
      env: { PEER_MODULES: join(modules, 'node_modules') },
    }),
  }
}

async function confluent(): Promise<Program> {
  const modules = await installed('confluent-kafka-javascript', (into) => [
    ['npm', 'install', '--no-save', '--prefix', into, '@confluentinc/kafka-javascript'],
  ])
  return typeof modules === 'string' ? { absent: 'installs here, but has no program in this bench yet' } : modules
}

async function quixstreams(): Promise<Program> {
  const version = '3.28.1'
  // A virtual environment cannot be moved, so this one is made where it stays.
  const target = join(peers, `quixstreams-${version}`)
  if (!existsSync(join(target, 'done'))) {
    process.stderr.write(`installing quixstreams into ${target} (once)\n`)
    for (const [file, ...args] of [
      ['python3', '-m', 'venv', target],
      [join(target, 'bin', 'pip'), 'install', '--quiet', `quixstreams==${version}`],
      ['touch', join(target, 'done')],
    ] as [string, ...string[]][]) {
      const { status, stderr, error } = spawnSync(file, args, { encoding: 'utf8', timeout: 300_000 })
      if (status !== 0)
        return { absent: `does not install here: ${(error?.message ?? stderr.trim().split('\n').at(-1) ?? '').slice(0, 160)}` }
    }
  }
  return { version, command: async () => ({ file: join(target, 'bin', 'python'), args: [here('quixstreams_loop.py')], env: {} }) }
}

export async function findProgram(name: ProgramName): Promise<Program> {
  switch (name) {
    case 'millrace':
      return node('millrace', 'this checkout')
    case 'node 22':
      return onNode(22)
    case 'node 24':
      return onNode(24)
    case 'floor':
      return node('floor', 'no broker')
    case 'kafkajs':
      return node('kafkajs', '2.2.4')
    case 'streams':
      return java('Streams')
    case 'java-loop':
      return java('Loop')
    case 'platformatic':
      return platformatic()
    case 'confluent':
      return confluent()
    case 'quixstreams':
      return quixstreams()
  }
}
