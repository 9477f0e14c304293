import type { LogClient } from '../log/port.js'
import type { Logger } from '../record/logger.js'

/**
 * Topics of its own that a pipeline has just made: new ones, or ones that somebody deleted. Which, only who runs the pipeline knows, so it
 * is told where the group has read records before.
 */
export class NewTopics {
  private readonly changelogs = new Set<string>()
  private readonly inlets = new Set<string>()

  add({ newChangelogs, newInlets }: { readonly newChangelogs: readonly string[]; readonly newInlets: readonly string[] }): void {
    for (const topic of newChangelogs) this.changelogs.add(topic)
    for (const topic of newInlets) this.inlets.add(topic)
  }

  async tell(
    log: LogClient,
    logger: Logger,
    { group, inputs, tasks }: { readonly group: string; readonly inputs: readonly string[]; readonly tasks: number },
  ): Promise<void> {
    if (this.changelogs.size === 0 && this.inlets.size === 0) return
    const [changelogs, inlets] = [[...this.changelogs], [...this.inlets]]
    const partitions = inputs.flatMap((topic) => Array.from({ length: tasks }, (_, partition) => ({ topic, partition })))
    const committed = await log.committedOffsets(group, partitions)
    this.changelogs.clear()
    this.inlets.clear()
    if (!committed.some((offset) => offset !== undefined && offset > 0)) return
    if (changelogs.length > 0)
      logger.warn(
        { group, changelogs },
        'the group has read records before, and these changelogs were missing and have been made: nothing of those records is in that state. Where the topics were deleted by mistake, stop the pipeline and read the input from its beginning, under another group',
      )
    if (inlets.length > 0)
      logger.warn(
        { group, topics: inlets },
        'the group has read records before, and these topics of its own were missing and have been made. Where they were deleted, the records that waited in them are gone: they were read from the input, before what the group has committed',
      )
  }
}
