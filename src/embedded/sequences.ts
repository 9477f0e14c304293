import { AT } from '../log/batch/header.js'
import { logError } from '../log/error.js'

interface ProducerState {
  epoch: number
  /** The sequence number the next batch must begin with. */
  next: number
}

const SEQUENCES = 2 ** 31

/** What one partition knows of its producers: a batch that comes twice is written once, and none may be left out. */
export class Sequences {
  private readonly producers = new Map<bigint, ProducerState>()

  constructor(private readonly where: string) {}

  /** False for a batch that is in the log already. @throws LogError 'reinit' */
  accept(producerId: bigint, batch: Buffer): boolean {
    const epoch = batch.readInt16BE(AT.producerEpoch)
    const first = batch.readInt32BE(AT.baseSequence)
    const count = batch.readInt32BE(AT.recordCount)
    const known = this.producers.get(producerId)
    if (known !== undefined && epoch < known.epoch) {
      throw logError(
        'PRODUCER_FENCED',
        'reinit',
        `${this.where}: the producer's epoch ${epoch} is over, ${known.epoch} has begun: another producer took its id over, or its transaction timed out`,
      )
    }
    const expected = known === undefined || epoch > known.epoch ? 0 : known.next
    if (first !== expected) {
      if (known?.epoch === epoch && behind(first, expected) && !behind(expected, (first + count) % SEQUENCES)) return false
      throw logError(
        'TRANSACTION_ABORTED',
        'reinit',
        `${this.where}: a batch before this one is missing (sequence ${first} came, ${expected} is next)`,
      )
    }
    this.producers.set(producerId, { epoch, next: (first + count) % SEQUENCES })
    return true
  }

  /** What was written last may be gone: whoever writes goes on with a new epoch. */
  restart(): void {
    for (const [id, { epoch }] of this.producers) this.producers.set(id, { epoch, next: 0 })
  }

  /** Batches of earlier epochs are refused from here on. */
  fence(producerId: bigint, epoch: number): void {
    this.producers.set(producerId, { epoch, next: 0 })
  }
}

/** Sequence numbers wrap around. */
function behind(sequence: number, other: number): boolean {
  const distance = (other - sequence + SEQUENCES) % SEQUENCES
  return distance > 0 && distance < SEQUENCES / 2
}
