import { cp, mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'

const ROOT = join(import.meta.dirname, '../..')

/** A build with one thing broken: a piece of its text in the place of another. */
export interface BrokenBuild {
  readonly name: string
  /** Below dist. */
  readonly file: string
  readonly changes: readonly (readonly [from: string, to: string])[]
  /** With an instance id each: else the member in a zombie's place has its transactional id, and fences it before the group does. */
  readonly named?: boolean
  /** The fault that has to show it, and on which pipeline. */
  readonly fault: string
  readonly pipeline: 'copy' | 'count' | 'dedupe' | 'idle'
  /** What the checker must say. */
  readonly told: RegExp
}

export const BROKEN: readonly BrokenBuild[] = [
  {
    name: 'unstable offset reads',
    file: 'kafka/protocol/offset-fetch.js',
    changes: [['writer.bool(true)', 'writer.bool(false)']],
    named: true,
    fault: 'EndTxn of a zombie',
    pipeline: 'copy',
    told: /[1-9]\d* doubled/,
  },
  {
    name: 'no generation on the commit',
    file: 'kafka/protocol/txn-offset-commit.js',
    changes: [
      ['writer.int32(member.generation)', 'writer.int32(-1)'],
      ['writer.compactString(member.memberId)', "writer.compactString('')"],
      ['writer.compactString(member.instanceId ?? null)', 'writer.compactString(null)'],
    ],
    named: true,
    fault: 'TxnOffsetCommit of a zombie',
    pipeline: 'copy',
    told: /[1-9]\d* doubled/,
  },
  {
    name: 'no rewind after an abort',
    file: 'runtime/task.js',
    changes: [['this.replay = [...[...(committing', 'void [...[...(committing']],
    fault: 'user code that throws',
    pipeline: 'copy',
    told: /[1-9]\d* lost/,
  },
  {
    name: 'state not rolled back',
    file: 'runtime/task-state.js',
    changes: [['store.rollback()', 'void store']],
    fault: 'user code that throws',
    pipeline: 'count',
    told: /lost/,
  },
  {
    name: 'claims marked before the commit',
    file: 'operators/dedupe/claim-session.js',
    changes: [
      ["return mine ? 'passes' : 'duplicate'", "return 'duplicate'"],
      ["if (end === 'open' || end === 'committed')", 'if (true)'],
    ],
    fault: 'kill -9, ids in Redis',
    pipeline: 'dedupe',
    told: /[1-9]\d* lost/,
  },
  {
    name: 'alarms unfenced',
    file: 'runtime/committer.js',
    changes: [['moved.length === 0 && round.sent ? round.standing() : moved', 'moved']],
    named: true,
    fault: 'alarms of a zombie',
    pipeline: 'idle',
    told: /twice|doubled/,
  },
  {
    name: 'a transactional id for each process',
    file: 'runtime/producers.js',
    changes: [['seat === undefined', 'true']],
    fault: 'kill -9 in an open transaction',
    pipeline: 'count',
    told: /committed again after \d+ ms, later than/,
  },
]

/**
 * A copy of the build with that thing broken; the address of its entry.
 *
 * @throws where the text to change is not found, or more than once
 */
export async function build({ name, file, changes }: BrokenBuild): Promise<string> {
  const place = join(ROOT, 'node_modules/.cache/millrace-broken', name.replaceAll(' ', '-'))
  await rm(place, { recursive: true, force: true })
  await mkdir(place, { recursive: true })
  await writeFile(join(place, 'package.json'), JSON.stringify({ type: 'module' }))
  await cp(join(ROOT, 'dist'), join(place, 'dist'), { recursive: true })
  const path = join(place, 'dist', file)
  let text = await readFile(path, 'utf8')
  for (const [from, to] of changes) {
    const parts = text.split(from)
    if (parts.length !== 2) throw new Error(`${name}: '${from}' stands ${parts.length - 1} times in dist/${file}, not once`)
    text = parts.join(to)
  }
  await writeFile(path, text)
  return pathToFileURL(join(place, 'dist/index.js')).href
}
