import { metrics, type Attributes, type Histogram, type MeterProvider } from '@opentelemetry/api'
import type { Durations, LogOperation, Took } from '../record/durations.js'
import { KAFKA, errorType } from './attributes.js'

/** As the conventions advise, in seconds. */
const BOUNDARIES = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10]
const TYPES: Record<LogOperation, string> = { poll: 'receive', send: 'send', commit: 'settle' }

/** The histograms of the conventions for messaging. */
export class DurationHistograms implements Durations {
  private processes: Histogram | undefined
  private operations: Histogram | undefined

  constructor(private readonly meterProvider: Pick<MeterProvider, 'getMeter'> | undefined) {}

  processed(took: Took): void {
    this.processes ??= this.histogram('messaging.process.duration', 'Time to work on the records of one transaction')
    this.processes.record(took.ms / 1_000, attributesOf('process', 'process', took))
  }

  operated(operation: LogOperation, took: Took): void {
    this.operations ??= this.histogram('messaging.client.operation.duration', 'Time of a request to the log')
    this.operations.record(took.ms / 1_000, attributesOf(operation, TYPES[operation], took))
  }

  /** Made when first needed: the SDK may be set up after the cluster is made. */
  private histogram(name: string, description: string): Histogram {
    const { meterProvider = metrics } = this
    return meterProvider
      .getMeter('millrace')
      .createHistogram(name, { description, unit: 's', advice: { explicitBucketBoundaries: BOUNDARIES } })
  }
}

function attributesOf(name: string, type: string, { error, group, topic, partition }: Took): Attributes {
  return {
    ...KAFKA,
    'messaging.operation.name': name,
    'messaging.operation.type': type,
    ...(group === undefined ? {} : { 'messaging.consumer.group.name': group }),
    ...(topic === undefined ? {} : { 'messaging.destination.name': topic }),
    ...(partition === undefined ? {} : { 'messaging.destination.partition.id': String(partition) }),
    ...(error === undefined ? {} : { 'error.type': errorType(error) }),
  }
}
