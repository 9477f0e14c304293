import { Observable } from 'rxjs'
import { z } from 'zod'
import { reactionTo } from '../log/error.js'
import type { LogClient } from '../log/port.js'
import type { Duration } from '../record/duration.js'
import { errorMessage } from '../record/error.js'
import { WaitReport } from '../record/wait-report.js'
import { duration, functionOption, parseOptions, positiveDuration, positiveInteger, topicName } from '../runtime/options.js'
import type { Cluster } from './cluster.js'
import { LagAlarm, type LagAlert } from './lag-alarm.js'
import { LagTrend } from './lag-trend.js'

export interface WatchLagOptions {
  /** The groups to look at, of whatever program, and the topics they read. */
  readonly groups: readonly { readonly group: string; readonly topics: readonly string[] }[]
  /** Default '10s'; each look costs some requests. */
  readonly every?: Duration
  /** When a group is told to be behind. Default: never. */
  readonly thresholds?: LagThresholds
  /** Called when an alert fires, and when it is over. */
  readonly onAlert?: (alert: LagAlert) => void
}

export interface LagThresholds {
  /** Fires at so many records. */
  readonly records: number
  /** Is over at so many, or fewer. Default: half of `records`, so that one that stays about there does not come and go. */
  readonly clear?: number
  /** Has to last so long before it fires, and before it is over. Default '1m'. */
  readonly for?: Duration
}

/** How far a group is behind. */
export interface GroupLag {
  readonly at: number
  readonly group: string
  /** Offsets between what is committed and the end, over its partitions; those without a committed offset are not in it. */
  readonly lag: number
  readonly partitions: readonly {
    readonly topic: string
    readonly partition: number
    readonly committed: number | undefined
    readonly end: number
    readonly lag: number | undefined
  }[]
  /** Records a second that it gets further behind by, over the last looks; negative where it catches up. Undefined at the first look. */
  readonly growth: number | undefined
  /** When it has caught up if it goes on like this; undefined where it does not catch up. */
  readonly timeToZeroMs: number | undefined
  /** Whether an alert of the group has fired and is not over. */
  readonly alerting: boolean
}

const schema = z.strictObject({
  groups: z
    .array(z.strictObject({ group: z.string().min(1), topics: z.array(topicName).min(1, { message: 'name at least one topic' }) }))
    .min(1, { message: 'name at least one group' }),
  every: positiveDuration.default(10_000),
  thresholds: z
    .strictObject({ records: positiveInteger, clear: z.number().int().min(0).optional(), for: duration.default(60_000) })
    .refine(({ records, clear = 0 }) => clear < records, { message: 'clear must be less than records', path: ['clear'] })
    .optional(),
  onAlert: functionOption<(alert: LagAlert) => void>('a function of the alert').optional(),
})

/**
 * Looks at how far groups are behind, those of other programs too: a `GroupLag` of each group at every look, whether it changed or not.
 * Alerts fire and are over by thresholds of their own, and are told in the log of the cluster and to `onAlert`.
 *
 * Reads offsets only, and takes part in no group. A cluster that cannot be reached is waited for; completes when it is closed. Memory: the
 * last few looks of each group.
 *
 * @throws MillraceError INVALID_OPTIONS; as error of the observable UNAUTHORIZED and what else cannot pass
 * @example
 * watchLag(cluster, { groups: [{ group: 'billing', topics: ['orders'] }], thresholds: { records: 10_000 } })
 *   .subscribe(({ group, lag, timeToZeroMs }) => console.log(group, lag, timeToZeroMs))
 */
export function watchLag(cluster: Cluster, options: WatchLagOptions): Observable<GroupLag> {
  const { groups, every, thresholds, onAlert } = parseOptions(schema, options, 'watchLag')
  return new Observable((subscriber) => {
    const { settings, host } = cluster.source({ group: 'none', topics: ['none'] })
    const { clock, logger, openLog } = host
    let cancel = (): void => {}
    let wait: WaitReport | undefined
    const watched = groups.map(({ group, topics }) => ({
      group,
      topics,
      trend: new LagTrend(),
      alarm: thresholds && new LagAlarm(group, { ...thresholds, clear: thresholds.clear ?? Math.floor(thresholds.records / 2) }),
    }))

    const tell = (alert: LagAlert | undefined): void => {
      if (alert === undefined) return
      const { group, lag, growth } = alert
      if (alert.state === 'fired') logger.warn({ group, lag, growth }, 'a group is behind')
      else logger.info({ group, lag }, 'a group is no longer behind')
      try {
        onAlert?.(alert)
      } catch (error) {
        logger.error({ group, error: errorMessage(error) }, 'onAlert of watchLag failed')
      }
    }
    const look = async (log: LogClient): Promise<void> => {
      for (const { group, topics, trend, alarm } of watched) {
        const partitions = await lagOf(log, group, topics)
        if (subscriber.closed) return
        const lag = partitions.reduce((sum, at) => sum + (at.lag ?? 0), 0)
        const { growth, timeToZeroMs } = trend.add(lag, clock.monotonic())
        tell(alarm?.look(lag, growth, clock.monotonic(), clock.now()))
        subscriber.next({ at: clock.now(), group, lag, partitions, growth, timeToZeroMs, alerting: alarm?.firing === true })
      }
    }
    const run = async (): Promise<void> => {
      const log = await openLog()
      const ended = new Promise<void>((resolve) => {
        subscriber.add(() => resolve())
        const close = (): void => subscriber.complete()
        settings.signal?.addEventListener('abort', close)
        subscriber.add(() => settings.signal?.removeEventListener('abort', close))
      })
      const turn = async (): Promise<void> => {
        try {
          await log.connect()
          await look(log)
          wait?.end()
          wait = undefined
        } catch (error) {
          if (subscriber.closed) return
          if (reactionTo(error) === 'fatal') return subscriber.error(error)
          wait ??= new WaitReport(clock, logger, { groups: groups.map(({ group }) => group) }, 'to see how far groups are behind')
          wait.because(error)
        }
        if (!subscriber.closed) cancel = clock.after(every, () => void turn())
      }
      void turn()
      await ended
      cancel()
      wait?.end()
      await log.close()
    }
    host.onRun(
      run().catch((error: unknown) => {
        if (subscriber.closed) logger.debug({ error: errorMessage(error) }, 'the watch of lag ended')
        else subscriber.error(error)
      }),
    )
  })
}

async function lagOf(log: LogClient, group: string, topics: readonly string[]): Promise<GroupLag['partitions']> {
  const infos = await log.topics(topics)
  const all = [...infos.values()].flatMap(({ topic, partitions }) =>
    Array.from({ length: partitions }, (_, partition) => ({ topic, partition })),
  )
  // First what is committed: the end is never before it then.
  const committed = await log.committedOffsets(group, all)
  const ends = await log.offsets(all, 'stable')
  return all.map(({ topic, partition }, i) => {
    const end = ends[i] as number
    const at = committed[i]
    return { topic, partition, committed: at, end, lag: at === undefined ? undefined : Math.max(0, end - at) }
  })
}
