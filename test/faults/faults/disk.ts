import { open, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Fault, Run } from '../run.js'

const CHUNK = Buffer.alloc(1024 * 1024)

/** Writes until there is no room; how to give it back. */
async function fill(directory: string): Promise<() => Promise<void>> {
  const path = join(directory, 'filler')
  const file = await open(path, 'w')
  try {
    for (let size = CHUNK.length; size > 0;) {
      try {
        await file.write(CHUNK, 0, size)
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error
        size = size > 1 ? size >> 1 : 0
      }
    }
  } finally {
    await file.close()
  }
  return () => rm(path)
}

async function full(run: Run, index: number, meanwhile: (since: number) => Promise<void>): Promise<void> {
  const directory = run.lab.server.dataDirectories[index]
  if (directory === undefined) throw new Error('a broker without a disk')
  const since = Date.now()
  const giveBack = await fill(directory)
  await meanwhile(since)
  await giveBack()
  const restarted = Date.now()
  await run.lab.server.restart(index)
  await run.recoversByHand(restarted)
}

/** What happens to the disks of brokers. A broker whose only one is full ends itself. */
export const diskFaults: readonly Fault[] = [
  {
    name: 'disk full',
    how: 'the disk of the only broker filled to the last byte; room made 10 s later, and the broker started again',
    pipelines: ['copy', 'count'],
    ownDisk: true,
    inject: (run) => full(run, 0, () => run.lasts(10_000)),
  },
  {
    name: 'disk of one broker full',
    how: 'the disk of one of three brokers filled to the last byte; when all goes on without it, room made and it is started again',
    pipelines: ['copy', 'count'],
    ownDisk: true,
    replicated: true,
    inject: (run) => full(run, run.random.below(3), (since) => run.recovers(run.allPartitions, since + 2_000)),
  },
]
