import { startKafka, type KafkaServer } from '../support/kafka/broker.js'
import { observe, type Observer } from '../support/kafka/client.js'
import { Checker } from './checker.js'

/** Brokers to be hurt, and the checker. */
export interface Lab {
  readonly server: Pick<KafkaServer, 'brokers' | 'dataDirectories' | 'kill' | 'restart'>
  readonly observer: Observer
  readonly checker: Checker
  readonly kafka: '4.3' | '3.9'
  readonly replicas: number
  close(): Promise<void>
}

/** So much room for each broker, where a fault takes it all. */
const DISK_MB = 600

interface LabOptions {
  readonly brokers: 1 | 3
  readonly kafka: '4.3' | '3.9'
  /** Each broker has a disk that can be filled. */
  readonly ownDisks: boolean
}

export async function openLab({ brokers, kafka, ownDisks }: LabOptions): Promise<Lab> {
  const options = { brokers, release: kafka, heap: '400m', ...(ownDisks && { diskMb: DISK_MB }) }
  const [server, checker] = await Promise.all([startKafka(options), Checker.start()])
  const observer = observe(server.brokers)
  return {
    server,
    observer,
    checker,
    kafka,
    replicas: brokers === 3 ? 3 : 1,
    async close() {
      await Promise.all([observer.close(), checker.stop()])
      await server.stop()
    },
  }
}

/** The checker on brokers that others use too: they may not be hurt. */
export async function shareLab(brokers: string[]): Promise<Lab> {
  const checker = await Checker.start()
  const observer = observe(brokers)
  const refuse = (): Promise<void> => Promise.reject(new Error('others use these brokers too'))
  return {
    server: { brokers, dataDirectories: [], kill: refuse, restart: refuse },
    observer,
    checker,
    kafka: '4.3',
    replicas: 1,
    async close() {
      await Promise.all([observer.close(), checker.stop()])
    },
  }
}
