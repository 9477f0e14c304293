import { z } from 'zod'
import type { PipelineHandle } from '../runtime/host.js'
import { parseOptions } from '../runtime/options.js'
import { hasEnded } from '../runtime/status/status.js'

/**
 * What may be done to the pipelines of this process while they run. Each answers whether there was something to do it to. Nothing of it
 * touches the guarantees: it only decides when records are read, and when a step is tried again. There is no seek: offsets commit with
 * the outputs and the state made of them, and a position moved by itself would count records twice or never.
 */
export interface ClusterControl {
  /**
   * Reads nothing more of a task, which is that partition of all topics of the source and of the pipeline's own: what it has read commits,
   * its alarms wait, the other tasks go on. Until `resume`, or until the task goes to another member.
   *
   * @throws MillraceError INVALID_OPTIONS
   * @example
   * cluster.control.pause({ group: 'billing', partition: 3 })
   */
  pause(task: TaskOf): boolean
  /** @throws MillraceError INVALID_OPTIONS */
  resume(task: TaskOf): boolean
  /**
   * Ends pipelines in order: what is open commits, the group is left, the observable completes.
   * @throws MillraceError INVALID_OPTIONS
   */
  stop(member: MemberOf): boolean
  /**
   * Closes a circuit breaker of `attempt` that is open: calls go on at once, and the next failure in a row opens it again.
   * @throws MillraceError INVALID_OPTIONS
   */
  closeBreaker(breaker: BreakerOf): boolean
}

export interface TaskOf {
  readonly group: string
  readonly partition: number
}

export interface MemberOf {
  readonly group: string
  /** One of those in the status. Default: all of the group that run in this process. */
  readonly memberId?: string | undefined
}

export interface BreakerOf {
  readonly group: string
  /** As the status names it. */
  readonly step: string
}

const group = z.string().min(1)
const taskOf = z.strictObject({ group, partition: z.number().int().min(0) })
const memberOf = z.strictObject({ group, memberId: z.string().min(1).optional() })
const breakerOf = z.strictObject({ group, step: z.string() })

/** Control over what `pipelines` gives. */
export function controlOf(pipelines: () => readonly PipelineHandle[]): ClusterControl {
  /** Done to all: not only to the first that there is something to do to. */
  const all = (name: string, act: (pipeline: PipelineHandle) => boolean): boolean =>
    pipelines()
      .filter((pipeline) => pipeline.status().group === name)
      .map(act)
      .includes(true)
  return {
    pause(task) {
      const { group: name, partition } = parseOptions(taskOf, task, 'control.pause')
      return all(name, (pipeline) => pipeline.pause(partition))
    },
    resume(task) {
      const { group: name, partition } = parseOptions(taskOf, task, 'control.resume')
      return all(name, (pipeline) => pipeline.resume(partition))
    },
    stop(member) {
      const { group: name, memberId } = parseOptions(memberOf, member, 'control.stop')
      return all(name, (pipeline) => {
        const status = pipeline.status()
        const isOther = memberId !== undefined && status.member.memberId !== memberId
        if (status.state === 'stopping' || hasEnded(status) || isOther) return false
        pipeline.stop()
        return true
      })
    },
    closeBreaker(breaker) {
      const { group: name, step } = parseOptions(breakerOf, breaker, 'control.closeBreaker')
      return all(name, (pipeline) => pipeline.closeBreaker(step))
    },
  }
}
