import { readFileSync } from 'node:fs'
import { MillraceError } from '../index.js'
import { analyzeCommand } from './analyze.js'
import { redriveCommand } from './redrive.js'
import { topCommand } from './top.js'
import { EXIT, type Surroundings } from './surroundings.js'
import { UsageError } from './usage.js'

const HELP = `millrace <command> [options]

Commands:
  analyze   say what keeps running pipelines from going faster
  redrive   send the records of a dead-letter topic back to where they came from
  top       lag, rate and state of running pipelines, or the lag of any group

millrace <command> --help tells its options.
`

const COMMANDS = new Set(['analyze', 'redrive', 'top'])

/** Runs one command; returns its exit code. */
export async function run(args: readonly string[], surroundings: Surroundings): Promise<number> {
  const { out, error } = surroundings
  const [command, ...rest] = args
  try {
    switch (command) {
      case 'analyze':
        return await analyzeCommand(rest, surroundings)
      case 'redrive':
        return await redriveCommand(rest, surroundings)
      case 'top':
        return await topCommand(rest, surroundings)
      case '--help':
      case '-h':
      case 'help':
        out(HELP)
        return EXIT.done
      case '--version':
        out(`${(JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as { version: string }).version}\n`)
        return EXIT.done
      default:
        throw new UsageError(command === undefined ? 'name a command' : `unknown command '${command}'`)
    }
  } catch (thrown) {
    if (thrown instanceof UsageError) {
      error(`millrace: ${thrown.message}\nTry: millrace ${COMMANDS.has(command ?? '') ? `${command} ` : ''}--help\n`)
      return EXIT.usage
    }
    if (!(thrown instanceof MillraceError)) throw thrown
    error(`millrace: ${thrown.code}: ${thrown.message}\n`)
    return EXIT.failed
  }
}
