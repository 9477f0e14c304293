import { z } from 'zod'
import { functionOption, objectWith, positiveInteger, topicName } from '../runtime/options.js'

/** Which dead letters are meant: all of what is given must hold. */
export interface RedriveFilter {
  /** Text of headers, by name. Where a header stands more than once, one of them. */
  readonly header?: Readonly<Record<string, string>>
  /** A text that stands in the error's class, code or message, or a pattern that one of them matches. */
  readonly error?: string | RegExp
  /** Name of the step that failed. */
  readonly step?: string
  readonly key?: string | Uint8Array
  /** Single letters, by where they lie in the dead-letter topic. */
  readonly at?: readonly { readonly partition: number; readonly offset: number }[]
  /** The record's own time, as it was before it failed: from here on. A date, milliseconds since the epoch, or ISO 8601. */
  readonly after?: Date | number | string
  /** ... and before this. */
  readonly before?: Date | number | string
}

export interface RedriveOptions {
  /** The dead-letter topic. */
  readonly from: string
  /** Topic to send to. Default: the one that each record came from, into its partition. */
  readonly to?: string
  /** Default: all. What it leaves out stays for another redrive. */
  readonly filter?: RedriveFilter
  /** Only looks: nothing is written and nothing committed. Default false. */
  readonly dryRun?: boolean
  /** Most records a second. Default: no limit. */
  readonly rate?: number
  /** Most records in this run. Default: no limit. */
  readonly limit?: number
  /** A record that came back as often as this is parked instead. Default 3. */
  readonly maxRedrives?: number
  /** Where such records are parked, as they are. Default `<from>.parked`; needed only if there are any. */
  readonly parked?: string
  /**
   * The consumer group, and by its changelog the memory of what was redriven. Default `<from>.redrive`. With another one nothing was
   * redriven yet.
   */
  readonly group?: string
  /** Told how far it is: while looking, and after each commit. */
  readonly onProgress?: (progress: RedriveProgress) => void
  /** Ends it in order: the open transaction commits, the result tells what was done till then. */
  readonly signal?: AbortSignal
}

export interface RedriveProgress {
  readonly phase: 'looking' | 'sending'
  /** Dead letters looked at. */
  readonly read: number
  readonly sent: number
  readonly parked: number
  /** All that are to be sent or parked, as far as is known. */
  readonly chosen: number
}

export interface RedriveResult {
  readonly dryRun: boolean
  /** False where the signal ended it early. */
  readonly complete: boolean
  /** Dead letters looked at: those chosen (sent or parked), `skipped`, `left` and `unaddressed`. */
  readonly read: number
  /** Sent, or in a dry run, that would be. */
  readonly sent: number
  readonly parked: number
  /** Redriven before, by this group. */
  readonly skipped: number
  /** Left out by the filter: they stay for another redrive. */
  readonly left: number
  /** Tell nothing of where they came from: they stay until one names `to`. */
  readonly unaddressed: number
  /** Records by topic, sent and parked. */
  readonly byTarget: Readonly<Record<string, number>>
  /** The same in more detail, largest first. */
  readonly table: readonly RedriveRow[]
  /** Topics that do not exist. Only a dry run gets as far as to say so. */
  readonly missing: readonly string[]
}

export interface RedriveRow {
  readonly target: string
  readonly outcome: 'send' | 'park'
  /** Class of the error; '' where nothing tells of it. */
  readonly error: string
  readonly step: string
  readonly records: number
}

const moment = z
  .union([z.date(), z.number(), z.string()], {
    message: "expected a date, milliseconds since the epoch, or a text like '2026-01-31T12:00:00Z'",
  })
  .transform((given) => new Date(given).getTime())
  .refine((ms) => !Number.isNaN(ms), { message: "expected a date, milliseconds since the epoch, or a text like '2026-01-31T12:00:00Z'" })

export const redriveSchema = z
  .strictObject({
    from: topicName,
    to: topicName.optional(),
    filter: z
      .strictObject({
        header: z.record(z.string(), z.string()).optional(),
        error: z.union([z.string().min(1), z.instanceof(RegExp)], { message: 'expected a text or a RegExp' }).optional(),
        step: z.string().optional(),
        key: z.union([z.string(), z.instanceof(Uint8Array)], { message: 'expected a text or bytes' }).optional(),
        at: z.array(z.strictObject({ partition: z.number().int().min(0), offset: z.number().int().min(0) })).optional(),
        after: moment.optional(),
        before: moment.optional(),
      })
      .default({}),
    dryRun: z.boolean().default(false),
    rate: z.number().positive().optional(),
    limit: positiveInteger.optional(),
    maxRedrives: positiveInteger.default(3),
    parked: topicName.optional(),
    group: z.string().min(1).optional(),
    onProgress: functionOption<(progress: RedriveProgress) => void>('a function of the progress').optional(),
    signal: objectWith<AbortSignal>(['addEventListener', 'removeEventListener'], 'an AbortSignal').optional(),
  })
  .refine(({ from, to }) => to !== from, { path: ['to'], message: 'is the dead-letter topic itself: its records would go in a circle' })
  .refine(({ from, parked }) => parked !== from, { path: ['parked'], message: 'is the dead-letter topic itself: name another one' })
  .transform(({ parked, group, ...rest }) => ({ ...rest, parked: parked ?? `${rest.from}.parked`, group: group ?? `${rest.from}.redrive` }))

export type RedriveSettings = z.output<typeof redriveSchema>
