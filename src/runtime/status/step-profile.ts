import type { Clock } from '../../record/clock.js'
import { SliceTiming } from '../slice-timing.js'
import type { Stages } from '../stages.js'
import type { StepStatus, TimeStatus } from './status.js'

/** Programs that make their pipes anew each time, in other places, are told of so many steps. */
const MOST_STEPS = 500
/** What goes round among the tasks comes by every slice of a row of `oneIn`, so no task is left out whatever their number. */
const STRIDE = 0.618

/** What the steps of a pipeline take, told by some of its slices. */
export class StepProfile {
  private asked = 0
  private slices = 0
  private records = 0
  private ms = 0
  private readonly steps = new Map<string, StepStatus>()

  /** `oneIn`: so many slices are one of which the steps are timed; none where undefined. */
  constructor(
    private readonly clock: Clock,
    public oneIn: number | undefined,
  ) {}

  /** Asked once for each slice: how to time it, if it is. */
  next(): SliceTiming | undefined {
    const { oneIn } = this
    if (oneIn === undefined) return undefined
    const row = Math.floor(this.asked / oneIn)
    const chosen = Math.floor(((row * STRIDE) % 1) * oneIn)
    return this.asked++ % oneIn === chosen ? new SliceTiming(() => this.clock.monotonic()) : undefined
  }

  /** A slice that was timed has come to its end. */
  add(stages: Stages): void {
    const timed = stages.timed()
    this.slices++
    this.records += timed.find(({ time }) => time.items > 0)?.time.items ?? 0
    for (const { key, name, operator, time } of timed) {
      const before = this.steps.get(key)
      if (before === undefined && this.steps.size >= MOST_STEPS) continue
      const { items = 0, busyMs = 0, heldMs = 0 } = before ?? {}
      this.ms += time.busyMs
      this.steps.set(key, {
        step: before?.step ?? name(),
        operator,
        items: items + time.items,
        busyMs: busyMs + time.busyMs,
        heldMs: heldMs + time.heldMs,
      })
    }
  }

  told(): Pick<TimeStatus, 'sampled' | 'steps'> {
    const { oneIn, slices, records, ms } = this
    return { sampled: { oneIn, slices, records, ms }, steps: [...this.steps.values()] }
  }
}
