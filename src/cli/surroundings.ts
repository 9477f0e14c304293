import type { Cluster, KafkaOptions } from '../index.js'

/** What a command has of the world around it. */
export interface Surroundings {
  /** What was asked for. */
  readonly out: (text: string) => void
  /** Progress and what went wrong. */
  readonly error: (text: string) => void
  /** Whether `error` is a terminal, on which a line can be written over. */
  readonly interactive: boolean
  /** Whether `out` is one, which can be written over from the top. Default false. */
  readonly terminal?: boolean
  readonly env: Readonly<Record<string, string | undefined>>
  /** Aborts when the command is to end in order; asked for only by commands that do so. */
  readonly signal: () => AbortSignal
  readonly connect: (options: KafkaOptions) => Cluster
}

/** Exit codes; an ended-in-order interruption has the one that shells know. */
export const EXIT = { done: 0, failed: 1, usage: 2, interrupted: 130 } as const
