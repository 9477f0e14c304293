import { errorMessage } from '../../record/error.js'
import type { EffectsEnvironment } from '../../runtime/effects.js'
import { BackgroundWork } from '../external/background.js'
import type { Place } from '../external/port.js'
import type { ReadModel } from './read-model.js'
import { refused, type Goal, type VersionState } from './model-versions.js'

/** How often one that is being built looks whether it has caught up. */
const LOOK_MS = 250
/** How often a version looks whether it was replaced, or what it replaced is to be removed. */
const REST_MS = 10_000
/** What is locked is looked at again soon. */
const LOCKED_MS = 50
const MAX_PAUSE_MS = 5_000

/**
 * Makes a version the live one when it has caught up, and removes those it replaced: beside the transactions of the pipeline, in each of
 * its processes. The first that finds it is time does it, under a lock in the database.
 */
export class VersionKeeper extends BackgroundWork {
  /** Where the inputs ended when it started. */
  private target: readonly number[] = []
  /** How many looks in a row have found all that is to be reached. */
  private reached = 0
  private isLive = false
  private failures = 0

  constructor(
    private readonly model: ReadModel,
    environment: EffectsEnvironment,
  ) {
    super(environment)
  }

  protected override async turn(): Promise<number> {
    const { model, environment } = this
    try {
      const pause = await this.look()
      this.failures = 0
      return pause
    } catch (error) {
      const fields = { model: model.name, version: model.version, error: errorMessage(error) }
      const blame = model.db.blame(error)
      // Somebody else writes, or holds what is to be switched.
      if (blame === 'again') {
        environment.logger.debug(fields, 'the versions of a read model are locked; tried again')
        return LOCKED_MS
      }
      if (blame === 'away') environment.logger.warn(fields, 'the versions of a read model cannot be looked after now; tried again')
      else environment.logger.error(fields, 'the versions of a read model cannot be looked after: the live one stays; tried again')
      return Math.min(MAX_PAUSE_MS, LOOK_MS * 2 ** this.failures++)
    }
  }

  /** Returns when to look again. */
  private async look(): Promise<number> {
    const { model, environment } = this
    const { clock, logger } = environment
    const about = { model: model.name, version: model.version }
    if (!this.isLive) {
      const goal = await this.goal()
      const state = goal === undefined ? 'building' : await model.versions.switch(goal, clock.now())
      if (state === 'building') return LOOK_MS
      if (state !== 'live') return this.after(state)
      this.isLive = true
      logger.info(about, 'this version of the read model is the live one')
    }
    return this.clean()
  }

  private async clean(): Promise<number> {
    const { model, environment } = this
    const { clock, logger } = environment
    const { removeAfterMs, versions, name } = model
    const history = await model.history()
    const own = history.find(({ version }) => version === model.version)
    if (own !== undefined && own.state !== 'live') return this.after(own.state)
    const replaced = history.filter(({ state }) => state === 'replaced')
    if (removeAfterMs === false || replaced.length === 0) return REST_MS
    const due = Math.min(...replaced.map(({ since }) => since.getTime())) + removeAfterMs - clock.now()
    if (due > 0) return Math.min(REST_MS, due)
    const gone = await versions.removeReplaced(clock.now() - removeAfterMs, clock.now())
    for (const version of gone) logger.info({ model: name, version }, 'a version of the read model that was replaced is removed')
    return REST_MS
  }

  private after(state: VersionState): number {
    const { versions, name, version } = this.model
    if (state === 'removed') versions.over = refused(name, version, 'a later one is live, and this one is removed: stop this pipeline')
    return REST_MS
  }

  /** What has to be reached; undefined while that is some way off. */
  private async goal(): Promise<Goal | undefined> {
    const { inputs, innerTopics, partitions, ends, group } = this.environment
    const { db, lag, name: sink } = this.model
    const count = partitions()
    const placesOf = (topics: readonly string[]): readonly Place[] =>
      topics.flatMap((topic) => Array.from({ length: count }, (_, partition) => ({ sink, topic, partition })))
    const places = placesOf(inputs)
    const inner = placesOf(innerTopics)
    if (this.target.length !== places.length) this.target = await ends(places)
    const now = await ends([...places, ...inner])
    const rows = await db.read(group, [...places, ...inner])
    const offsets = [...this.target, ...now.slice(places.length)]
    const isThere = rows.every((row, i) => (row?.position ?? 0) + lag >= (offsets[i] as number))
    this.reached = isThere ? this.reached + 1 : 0
    // What went into a topic of its own with the last input may not have been in it when its end was asked for.
    if (this.reached < (inner.length > 0 ? 2 : 1)) return undefined
    return { places, offsets: this.target, ends: now.slice(0, places.length), lag }
  }
}
