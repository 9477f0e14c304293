import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { copyFile, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import type { TestProject } from 'vitest/node'

export const ROOT = fileURLToPath(new URL('../..', import.meta.url))
export const run = promisify(execFile)

declare module 'vitest' {
  export interface ProvidedContext {
    /** A project of a user, with the packed package installed by npm. */
    readonly project: string
    readonly tarball: string
  }
}

/** The programs of a project of a user. */
export async function writeFiles(folder: string, files: Readonly<Record<string, string | object>>): Promise<void> {
  for (const [name, content] of Object.entries(files)) {
    await mkdir(join(folder, name, '..'), { recursive: true })
    await writeFile(join(folder, name), typeof content === 'string' ? content : JSON.stringify(content))
  }
  await copyFile(join(ROOT, 'test/install/programs/suite.cjs'), join(folder, 'suite.cjs'))
}

/** Runs a program and gives what it prints; its error has what it printed there. */
export async function output(command: string, args: readonly string[], cwd: string, env: NodeJS.ProcessEnv = {}): Promise<string> {
  try {
    return (await run(command, args, { cwd, env: { ...process.env, ...env }, maxBuffer: 1 << 24 })).stdout.trim()
  } catch (error) {
    const { stdout = '', stderr = '' } = error as { readonly stdout?: string; readonly stderr?: string }
    throw new Error(`${command} ${args.join(' ')} failed:\n${stdout}\n${stderr}`, { cause: error })
  }
}

/** Packs the package once, and installs it once with npm. `npm test` has built dist before. */
export default async function setup({ provide }: TestProject): Promise<() => Promise<void>> {
  if (!existsSync(join(ROOT, 'dist/cjs/millrace.js'))) await run(process.execPath, ['build/build.mjs'], { cwd: ROOT })
  const folder = await mkdtemp(join(tmpdir(), 'millrace-install-'))
  const { stdout } = await run('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', folder], { cwd: ROOT })
  const [{ filename }] = JSON.parse(stdout) as [{ filename: string }]
  const tarball = join(folder, filename)
  const project = join(folder, 'npm')
  await writeFiles(project, { 'package.json': { name: 'user', private: true } })
  await run('npm', ['install', '--no-audit', '--no-fund', '--prefer-offline', tarball, 'rxjs@7', 'kafkajs-snappy@1'], { cwd: project })
  provide('project', project)
  provide('tarball', tarball)
  return () => rm(folder, { recursive: true, force: true })
}
