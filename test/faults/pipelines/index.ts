import type { Observable } from 'rxjs'
import type { RawRecord } from '../../../src/index.js'
import type { RunTopics } from './topics.js'

/** A pipeline: what becomes of its records. What must come out is said by `checker/Rules.java`, under the same name. */
export interface Pipeline {
  readonly project: (topics: RunTopics) => (records: Observable<RawRecord>) => Observable<unknown>
  /** Closes what it opened itself. */
  readonly close?: () => Promise<void>
}

/** What the harness knows of each without loading it. */
export const PIPELINES = {
  copy: { outputs: ['out'], right: false, stores: [], tiers: [] },
  count: { outputs: ['out'], right: false, stores: ['aggregate'], tiers: [] },
  window: { outputs: ['out', 'late'], right: false, stores: ['window'], tiers: [] },
  join: { outputs: ['out'], right: true, stores: ['join-left', 'join-right'], tiers: [] },
  dedupe: { outputs: ['out'], right: false, stores: ['dedupe'], tiers: [] },
  retry: { outputs: ['out', 'dead'], right: false, stores: ['retry'], tiers: ['200ms', '400ms'] },
  delay: { outputs: ['out'], right: false, stores: ['delay'], tiers: [] },
  idle: { outputs: ['out', 'late'], right: false, stores: ['window'], tiers: [] },
} as const satisfies Record<string, About>

interface About {
  readonly outputs: readonly ('out' | 'late' | 'dead')[]
  readonly right: boolean
  /** Its stores: what their changelogs hold is compared too. */
  readonly stores: readonly string[]
  /** Delays of its retry topics. */
  readonly tiers: readonly string[]
}

export type PipelineName = keyof typeof PIPELINES

export const PIPELINE_NAMES = Object.keys(PIPELINES) as PipelineName[]
