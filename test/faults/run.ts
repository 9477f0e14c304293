import { setTimeout as pause } from 'node:timers/promises'
import type { Child } from '../support/child.js'
import { uniqueName } from '../support/kafka/client.js'
import { Proxy } from '../support/kafka/proxy.js'
import { until } from '../support/until.js'
import type { Subject, Verdict } from './checker.js'
import { Fleet } from './fleet.js'
import type { Lab } from './lab.js'
import { PIPELINES, type PipelineName } from './pipelines/index.js'
import type { RunTopics } from './pipelines/topics.js'
import { Random } from './random.js'

export const PARTITIONS = 4
/** Longer than any time-out of what is under test, on a machine with a lot to do. */
const PATIENCE_MS = 120_000
/** Twice as long as the time-out of a transaction, and a session: what is not back by then is not coming back by itself. */
const BY_ITSELF_MS = 40_000

/** What is done to a pipeline while it works. */
export interface Fault {
  readonly name: string
  /** How it is brought about, for the table. */
  readonly how: string
  readonly pipelines: readonly PipelineName[]
  /** Further ones that it is for, where they are asked for by name. */
  readonly also?: readonly PipelineName[]
  /** Needs a disk for each broker that can be filled. */
  readonly ownDisk?: boolean
  /** The pipeline keeps its state elsewhere than in changelogs. */
  readonly keepsElsewhere?: boolean
  /** Needs three brokers. */
  readonly replicated?: boolean
  /** May be one of a random sequence of faults. */
  readonly soak?: boolean
  /** Members at the start; 2 unless told. */
  readonly members?: number
  /** What every member is started with. */
  readonly env?: Readonly<Record<string, string>>
  /** Whether the members have names of their own, so that a restart takes its place again. */
  readonly named?: boolean
  /** The most that may pass until all is committed again, where that is promised. */
  readonly withinMs?: number
  /** What members need besides brokers: env of theirs, and how it is taken away. */
  readonly surroundings?: (run: Run) => Promise<{
    readonly env: Readonly<Record<string, string>>
    readonly stop: () => Promise<void>
  }>
  readonly inject: (run: Run) => Promise<void>
}

export interface Outcome {
  readonly fault: string
  readonly how: string
  readonly pipeline: PipelineName
  readonly brokers: number
  readonly kafka: string
  readonly seed: number
  readonly counts: Readonly<Record<string, number>>
  /** How long it took until every partition that was hit was committed again, for each time. */
  readonly recoveries: readonly number[]
  readonly problems: readonly string[]
  /** What somebody had to do by hand, and was asked to. */
  readonly note?: string | undefined
  readonly seconds: number
}

export interface RunOptions {
  readonly seed: number
  readonly perSecond?: number
  /** Env of every member, such as a broken build. */
  readonly env?: Readonly<Record<string, string>>
  /** Seconds to be waited for what must come right in the end. */
  readonly patienceMs?: number
}

/** One pipeline, its members, its input and its faults. */
export class Run {
  readonly random: Random
  readonly name: string
  readonly group: string
  readonly topics: RunTopics
  readonly fleet: Fleet
  readonly recoveries: number[] = []
  readonly problems: string[] = []
  note: string | undefined
  /** What is right after what was done: outputs that were deleted are not asked for, or ids may pass once more. */
  readonly allows = { shortened: false, forgetful: false }
  /** Which broker each member reaches through which proxy: by member, then by broker. */
  readonly links = new Map<Child, readonly Proxy[]>()
  /** The names of members that have one. */
  private readonly names = new Map<Child, string>()
  private readonly subject: Subject
  private feeding = false
  private surroundings: ReturnType<NonNullable<Fault['surroundings']>> | undefined

  constructor(
    readonly lab: Lab,
    readonly fault: Fault,
    readonly pipeline: PipelineName,
    private readonly options: RunOptions,
  ) {
    this.random = new Random(options.seed)
    this.name = uniqueName(`faults-${pipeline}`)
    this.group = this.name
    const { right, stores, outputs, tiers } = PIPELINES[pipeline]
    const topic = (role: string): string => `${this.name}-${role}`
    const inputs = right ? [topic('left'), topic('right')] : [topic('in')]
    this.topics = {
      inputs,
      out: topic('out'),
      late: topic('late'),
      dead: topic('dead'),
    }
    this.subject = {
      name: this.name,
      rules: pipeline,
      group: this.group,
      inputs,
      outputs: Object.fromEntries(outputs.map((role) => [role, topic(role)])),
      inlets: inputs.flatMap((input) => tiers.map((tier) => `${input}.${this.group}.retry.${tier}`)),
      changelogs: fault.keepsElsewhere === true ? [] : stores.map((store) => `${this.group}-${store}-changelog`),
    }
    this.fleet = new Fleet({
      PIPELINE: pipeline,
      TOPICS: JSON.stringify(this.topics),
      GROUP: this.group,
      REPLICAS: String(lab.replicas),
      ...fault.env,
      ...options.env,
    })
  }

  get changelog(): string {
    const [changelog] = this.subject.changelogs
    if (changelog === undefined) throw new Error(`the pipeline ${this.pipeline} has no changelog that is looked at`)
    return changelog
  }

  get sessionMs(): number {
    return Number(this.fault.env?.['SESSION_MS'] ?? 6_000)
  }

  /** A member with links of its own to the brokers. */
  async start({
    name,
    env = {},
  }: {
    readonly name?: string
    readonly env?: Readonly<Record<string, string>>
  } = {}): Promise<Child> {
    const links = await Proxy.startAll(this.lab.server.brokers)
    const around = (await this.surroundings)?.env
    const own = name ?? (this.fault.named === true ? `member-${this.names.size}` : undefined)
    const member = this.fleet.start({
      KAFKA_BROKERS: links.map(({ address }) => address).join(','),
      ...(own === undefined ? {} : { INSTANCE: own }),
      ...around,
      ...env,
    })
    this.links.set(member, links)
    if (own !== undefined) this.names.set(member, own)
    return member
  }

  /** Another process in the place of one that ended. */
  replace(member: Child): Promise<Child> {
    const name = this.names.get(member)
    return this.start(name === undefined ? {} : { name })
  }

  /** One of the members that run. */
  victim(): Child {
    return this.random.of(this.fleet.running)
  }

  linksOf(member: Child): readonly Proxy[] {
    const links = this.links.get(member)
    if (links === undefined) throw new Error('a member without links')
    return links
  }

  /** What a fault takes: the time between its beginning and its end is part of it. */
  lasts(ms: number): Promise<void> {
    return pause(ms)
  }

  /** Waits until these partitions are committed again, by whomever. */
  async recovers(partitions: readonly number[] = this.allPartitions, since = Date.now()): Promise<void> {
    const took = await this.fleet.recovered(partitions, since, PATIENCE_MS)
    this.recoveries.push(took)
    const { withinMs } = this.fault
    if (withinMs !== undefined && took > withinMs) this.problems.push(`committed again after ${took} ms, later than ${withinMs} ms`)
  }

  /**
   * The same where the broker may have left a transaction unfinished: members say what they wait for, and go on when it was aborted as its
   * tool does it.
   */
  async recoversByHand(since: number): Promise<void> {
    const alone = await this.fleet.recovered(this.allPartitions, since, BY_ITSELF_MS).then(
      () => true,
      () => false,
    )
    const { inputs, outputs, inlets, changelogs } = this.subject
    const aborted = await this.order<number>('finish', { topics: [...inputs, ...Object.values(outputs), ...inlets, ...changelogs] })
    if (aborted > 0) this.note = `a transaction that the broker left unfinished was aborted by hand on ${aborted} partitions`
    if (!alone && !this.fleet.running.some(({ errors }) => /still waiting: .*UNSTABLE_OFFSET_COMMIT/.test(errors)))
      this.problems.push(`no member said what it waits for; ${this.fleet.state()}`)
    await this.recovers(this.allPartitions, alone ? since : Date.now())
  }

  /** Waits until a member has its share of the work, if there is enough for all. */
  async works(member: Child): Promise<void> {
    if (this.fleet.running.length <= PARTITIONS) await this.fleet.works(member, PATIENCE_MS)
  }

  get allPartitions(): readonly number[] {
    return Array.from({ length: PARTITIONS }, (_, partition) => partition)
  }

  order<T>(order: string, more: object): Promise<T> {
    return this.lab.checker.order<T>(order, this.lab.server.brokers, {
      ...this.subject,
      ...this.allows,
      ...more,
    })
  }

  /** Input, more and more of it. */
  async feed(): Promise<void> {
    const { seed, perSecond = 300 } = this.options
    await this.order('feed', { topics: this.topics.inputs, seed, perSecond })
    this.feeding = true
  }

  /** Ends the input, where a fault is one of quiet. */
  async stopFeed(): Promise<void> {
    if (!this.feeding) return
    this.feeding = false
    await this.order('stopFeed', {})
  }

  /** How many records of the input, and of what it writes for itself, the group has yet to commit. */
  behind(): Promise<number> {
    return this.order<number>('behind', {})
  }

  async go(): Promise<Outcome> {
    const began = performance.now()
    let counts: Verdict['counts'] = {}
    try {
      counts = await this.work()
    } catch (error) {
      this.problems.push(error instanceof Error ? [error.message, error.cause].filter(Boolean).map(String).join(': ') : String(error))
      const open = await this.order<readonly string[]>('transactions', {}).catch((why: unknown) => [String(why)])
      if (open.length > 0) this.problems.push(`open by their coordinator: ${open.join('; ')}`)
    } finally {
      this.fleet.killAll()
      await Promise.all(this.fleet.members.map(({ ended }) => ended))
      await Promise.all([...this.links.values()].flat().map((link) => link.stop()))
      await (await this.surroundings)?.stop()
      await this.order('delete', {}).catch((error: unknown) => this.problems.push(`its topics could not be deleted: ${String(error)}`))
    }
    const { fault, pipeline, lab, options, recoveries, problems } = this
    return {
      fault: fault.name,
      how: fault.how,
      pipeline,
      brokers: lab.server.brokers.length,
      kafka: lab.kafka,
      seed: options.seed,
      counts,
      recoveries,
      problems: [...problems, ...this.fleet.problems()],
      note: this.note,
      seconds: Math.round((performance.now() - began) / 1_000),
    }
  }

  private async work(): Promise<Verdict['counts']> {
    this.surroundings = this.fault.surroundings?.(this)
    const { inputs } = this.topics
    const outputs = Object.values(this.subject.outputs)
    await this.order('create', {
      topics: [...inputs, ...outputs],
      partitions: PARTITIONS,
      replicas: this.lab.replicas,
    })
    await this.order('follow', { topics: outputs })
    await this.feed()
    try {
      for (let i = 0; i < (this.fault.members ?? 2); i++) await this.start()
      await this.fleet.recovered(this.allPartitions, 0, PATIENCE_MS)
      for (const member of this.fleet.running) await this.works(member)
      await this.fault.inject(this)
    } finally {
      await this.stopFeed()
    }
    return await this.judge()
  }

  /** All that was read has to be in the outputs, once: while members still run, as some outputs have a time, and when they have ended. */
  private async judge(): Promise<Verdict['counts']> {
    if (this.fleet.running.length === 0) await this.start()
    let verdict: Verdict = { problems: ['never looked'], counts: {} }
    await until(
      async () => {
        verdict = await this.order<Verdict>('check', { name: '' })
        return verdict.problems.length === 0
      },
      { within: this.options.patienceMs ?? PATIENCE_MS, every: 500 },
    ).catch(() => undefined)
    for (const member of this.fleet.running) member.kill('SIGTERM')
    await until(() => this.fleet.running.length === 0, {
      within: PATIENCE_MS,
      what: 'the members to end',
    })
    verdict = await this.order<Verdict>('check', {})
    this.problems.push(...verdict.problems)
    return verdict.counts
  }
}
