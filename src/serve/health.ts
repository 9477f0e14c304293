import type { PipelineStatus } from '../runtime/status/status.js'

/** How a probe is answered; `why` names each pipeline that is not well. */
export interface Health {
  readonly ok: boolean
  readonly why: readonly string[]
}

function health(why: readonly string[]): Health {
  return { ok: why.length === 0, why }
}

/**
 * Whether a restart would help: a pipeline has failed, or a transaction is open for longer than `stuckMs` and waits for nothing on purpose.
 * That the event loop turns is told by the answer itself. What the cluster or a service is to blame for is no reason: a restart mends it
 * not.
 */
export function liveness(pipelines: readonly PipelineStatus[], stuckMs: number): Health {
  return health(
    pipelines.flatMap(({ group, state, transaction, lastError }) => {
      if (state === 'failed') return `${group}: failed (${lastError?.code ?? lastError?.name ?? 'unknown'})`
      if (transaction?.state !== 'finishing' || transaction.openMs < stuckMs) return []
      const { waits, heldBy, openMs } = transaction
      if (waits.bounded + waits.outside > 0) return []
      return `${group}: a transaction is open for ${Math.round(openMs / 1_000)} s, held by ${heldBy.join(', ') || 'user code'}`
    }),
  )
}

/** Whether it does its part: a member of its group, with the state of its tasks restored. */
export function readiness(pipelines: readonly PipelineStatus[]): Health {
  if (pipelines.length === 0) return health(['no pipeline was subscribed'])
  return health(
    pipelines.flatMap(({ group, state, member, tasks, rebalances }) => {
      // A rebalance among members that are there takes nobody out of service.
      const joinsAgain = state === 'joining' && rebalances.count > 0 && member.state !== 'lost'
      if (state !== 'running' && !joinsAgain) return `${group}: ${state}`
      if (member.state === 'lost' || member.state === 'fatal') return `${group}: out of its group`
      const restoring = tasks.filter((task) => task.state === 'restoring').length
      return restoring > 0 ? `${group}: ${restoring} tasks are being restored` : []
    }),
  )
}

/** Whether each has had an assignment. */
export function startup(pipelines: readonly PipelineStatus[]): Health {
  if (pipelines.length === 0) return health(['no pipeline was subscribed'])
  return health(pipelines.flatMap(({ group, rebalances, state }) => (rebalances.count > 0 ? [] : `${group}: ${state}`)))
}
