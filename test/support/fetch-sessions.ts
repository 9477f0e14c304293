import type { FetchPartition, FetchRequest, FetchResponse, FetchedPartition } from '../../src/kafka/protocol/fetch.js'

interface Cached {
  asked: FetchPartition
  highWatermark: number
}

interface Session {
  epoch: number
  readonly partitions: Map<string, Cached>
}

const ID_NOT_FOUND = 70
const INVALID_EPOCH = 71

/** Fetch sessions as a broker keeps them: what is fetched in each, and of what an answer tells. (KIP-227) */
export class BrokerSessions {
  /** So many at a time; beyond that requests are answered without one. */
  most = 1_000
  private readonly sessions = new Map<number, Session>()
  private lastId = 0

  get open(): number {
    return this.sessions.size
  }

  /** What a broker forgets when it is started again. */
  forget(): void {
    this.sessions.clear()
  }

  /** As if another request of each session had come in between. */
  confuse(): void {
    for (const session of this.sessions.values()) session.epoch++
  }

  answer(request: FetchRequest, read: (partition: FetchPartition) => FetchedPartition): FetchResponse {
    const { sessionId, sessionEpoch, partitions, forgotten } = request
    const head = { throttleMs: 0, error: 0 }
    if (sessionEpoch <= 0) {
      this.sessions.delete(sessionId)
      const answers = partitions.map(read)
      if (sessionEpoch < 0 || this.sessions.size >= this.most) return { ...head, sessionId: 0, partitions: answers }
      const cached = partitions.map((asked, i) => [nameOf(asked), { asked, highWatermark: watermark(answers[i]) }] as const)
      this.sessions.set(++this.lastId, { epoch: 1, partitions: new Map(cached) })
      return { ...head, sessionId: this.lastId, partitions: answers }
    }
    const session = this.sessions.get(sessionId)
    if (session === undefined) return { ...head, error: ID_NOT_FOUND, sessionId: 0, partitions: [] }
    if (session.epoch !== sessionEpoch) return { ...head, error: INVALID_EPOCH, sessionId: 0, partitions: [] }
    session.epoch++
    for (const asked of partitions) {
      const before = session.partitions.get(nameOf(asked))
      if (before === undefined) session.partitions.set(nameOf(asked), { asked, highWatermark: -1 })
      else before.asked = asked
    }
    for (const at of forgotten) session.partitions.delete(nameOf(at))
    const answers: FetchedPartition[] = []
    for (const [name, cached] of [...session.partitions]) {
      const answer = read(cached.asked)
      const isNews =
        answer.records.length > 0 || answer.error !== 0 || answer.diverging !== undefined || answer.highWatermark !== cached.highWatermark
      cached.highWatermark = watermark(answer)
      if (!isNews) continue
      answers.push(answer)
      session.partitions.delete(name)
      session.partitions.set(name, cached)
    }
    return { ...head, sessionId, partitions: answers }
  }
}

/** After an error, what there is then is told again. */
function watermark(answer: FetchedPartition | undefined): number {
  return answer === undefined || answer.error !== 0 ? -1 : answer.highWatermark
}

function nameOf({ topic, partition }: { readonly topic: string; readonly partition: number }): string {
  return `${topic}/${partition}`
}
