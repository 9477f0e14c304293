import type { ConnectionOptions } from 'node:tls'
import type { SASLOptions } from 'kafkajs'
import { z } from 'zod'
import type { CompressionCodec, CompressionCodecs } from '../kafka/codecs.js'
import type { TraceEvent } from '../log/port.js'
import { systemClock } from '../record/clock.js'
import type { Duration } from '../record/duration.js'
import { inArea, quietLogger, type Logger } from '../record/logger.js'
import { functionOption, objectWith, parseOptions, timeLimit } from '../runtime/options.js'
import { telemetryOption, type Telemetry } from '../runtime/telemetry.js'
import { LogCluster, type Cluster } from './cluster.js'

export interface KafkaOptions {
  /** Addresses of some of the brokers, host:port; the others are learned from them. */
  readonly brokers: readonly string[]
  /** Name in the brokers' logs and quotas. Default 'millrace'. */
  readonly clientId?: string
  /** TLS: true for the system's certificates, or the options of Node's tls.connect. */
  readonly ssl?: boolean | ConnectionOptions
  /**
   * SASL, in kafkajs's form: `{ mechanism: 'scram-sha-256', username, password }`, or `{ mechanism: 'oauthbearer', oauthBearerProvider }`:
   * a function that resolves to `{ value: token }`, asked for each log-in. What it fails with is taken for something that passes.
   */
  readonly sasl?: SASLOptions
  /**
   * Codecs by format, for snappy, lz4 and zstd; gzip is built in. Each is a function that makes one, in the form that packages made for
   * kafkajs have: `{ snappy: SnappyCodec }` of kafkajs-snappy. Default: what is registered in kafkajs's CompressionCodecs.
   */
  readonly codecs?: CompressionCodecs
  /** For a connection to come up. Default '5s'. */
  readonly connectionTimeout?: Duration
  /** For a request to be answered, retries included. Default '30s'. */
  readonly requestTimeout?: Duration
  /** pino or alike. Default: warnings and errors, one line each, on stderr. */
  readonly logger?: Logger
  /** Told of each step of each transaction as it is done; for debugging and for tests that stop a process between steps. */
  readonly trace?: (event: TraceEvent) => void
  /**
   * Where what it does is told of, and by what records are followed from program to program: `openTelemetry()` of `millrace/opentelemetry`.
   * Default: nowhere.
   */
  readonly telemetry?: Telemetry
}

const codecOption = functionOption<() => CompressionCodec>('a function that makes a codec')

const schema = z.strictObject({
  brokers: z
    .array(z.string().regex(/^[^:\s]+:\d+$|^\[[0-9a-fA-F:]+\]:\d+$/, { message: "expected host:port, e.g. 'localhost:9092'" }))
    .min(1, { message: 'name at least one broker' }),
  clientId: z.string().min(1).default('millrace'),
  ssl: z.union([z.boolean(), z.custom<ConnectionOptions>((given) => typeof given === 'object' && given !== null)]).default(false),
  sasl: z
    .custom<SASLOptions>((given) => typeof given === 'object' && given !== null && 'mechanism' in given, {
      message: "expected { mechanism: 'plain' | 'scram-sha-256' | ... }",
    })
    .optional(),
  codecs: z.strictObject({ snappy: codecOption, lz4: codecOption, zstd: codecOption }).partial().default({}),
  connectionTimeout: timeLimit.default(5_000),
  requestTimeout: timeLimit.default(30_000),
  logger: objectWith<Logger>(['debug', 'info', 'warn', 'error'], 'a logger with debug, info, warn and error').default(quietLogger),
  trace: functionOption<(event: TraceEvent) => void>('a function of the trace event').optional(),
  telemetry: telemetryOption,
})

/**
 * A Kafka cluster. Nothing is loaded or connected before it is used.
 *
 * @throws MillraceError INVALID_OPTIONS
 * @example
 * const cluster = kafka({ brokers: ['localhost:9092'] })
 */
export function kafka(options: KafkaOptions): Cluster {
  const { connectionTimeout, requestTimeout, logger, trace, telemetry, codecs, ...given } = parseOptions(schema, options, 'kafka')
  return new LogCluster({
    clock: systemClock,
    logger,
    trace,
    telemetry,
    openLog: async (own = logger) => {
      const { createKafkaLog } = await import('../kafka/client.js')
      return createKafkaLog({
        ...given,
        codecs: codecs as CompressionCodecs,
        connectionTimeoutMs: connectionTimeout,
        requestTimeoutMs: requestTimeout,
        logger: inArea(own, 'log'),
      })
    },
  })
}
