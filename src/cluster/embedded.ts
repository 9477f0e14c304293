import { z } from 'zod'
import type { EmbeddedBroker } from '../embedded/broker.js'
import type { TraceEvent } from '../log/port.js'
import { systemClock, type Clock } from '../record/clock.js'
import { quietLogger, type Logger } from '../record/logger.js'
import { functionOption, objectWith, parseOptions } from '../runtime/options.js'
import { telemetryOption, type Telemetry } from '../runtime/telemetry.js'
import { LogCluster, type Cluster } from './cluster.js'

export interface EmbeddedOptions {
  /** The broker to use, from `millrace/testing`; clusters on one broker see the same topics. Default: a new one. */
  readonly broker?: EmbeddedBroker
  /** Default: the system's. A virtual one comes from `millrace/testing`. */
  readonly clock?: Clock
  readonly logger?: Logger
  readonly trace?: (event: TraceEvent) => void
  /**
   * Where what it does is told of, and by what records are followed from program to program: `openTelemetry()` of `millrace/opentelemetry`.
   * Default: nowhere.
   */
  readonly telemetry?: Telemetry
}

const schema = z.strictObject({
  broker: objectWith<EmbeddedBroker>(['client'], 'a broker of millrace/testing').optional(),
  clock: objectWith<Clock>(['now', 'monotonic', 'after'], 'a clock').default(systemClock),
  logger: objectWith<Logger>(['debug', 'info', 'warn', 'error'], 'a logger with debug, info, warn and error').default(quietLogger),
  trace: functionOption<(event: TraceEvent) => void>('a function of the trace event').optional(),
  telemetry: telemetryOption,
})

/**
 * A broker in this process, with partitions, groups and transactions like Kafka's: for a first try, demos and tests. What it holds ends
 * with the process.
 *
 * Memory: all that is written, about 300 bytes a record beside key and value in small batches, until `deleteTopics` or the end: retention and
 * compaction are taken as configuration and not acted on.
 *
 * @example
 * const cluster = embedded()
 * await cluster.createTopics([{ topic: 'in', partitions: 4 }])
 */
export function embedded(options: EmbeddedOptions = {}): Cluster {
  const { broker, clock, logger, trace, telemetry } = parseOptions(schema, options, 'embedded')
  let own: Promise<EmbeddedBroker> | undefined
  return new LogCluster({
    clock,
    logger,
    trace,
    telemetry,
    openLog: async () => {
      own ??=
        broker !== undefined
          ? Promise.resolve(broker)
          : import('../embedded/broker.js').then(({ createEmbeddedBroker }) => createEmbeddedBroker({ clock }))
      return (await own).client()
    },
  })
}
