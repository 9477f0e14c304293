/** Where a record lies: what makes it the same record after a crash, an abort or a replay. */
export interface Origin {
  readonly topic: string
  readonly partition: number
  readonly offset: number
}

/** "topic/partition/offset", as ids and messages have it: topic names hold no slash. */
export function originText({ topic, partition, offset }: Origin): string {
  return `${topic}/${partition}/${offset}`
}

export function sameOrigin(a: Origin, b: Origin): boolean {
  return a.offset === b.offset && a.partition === b.partition && a.topic === b.topic
}
