/** A value for each of many partitions: looked up without a text being made of topic and number. */
export class PartitionMap<T> {
  private readonly topics = new Map<string, Map<number, T>>()

  get(topic: string, partition: number): T | undefined {
    return this.topics.get(topic)?.get(partition)
  }

  set(topic: string, partition: number, value: T): void {
    const of = this.topics.get(topic)
    if (of === undefined) this.topics.set(topic, new Map([[partition, value]]))
    else of.set(partition, value)
  }

  clear(): void {
    this.topics.clear()
  }

  /** Those of one topic after the other. */
  *values(): Generator<T> {
    for (const of of this.topics.values()) yield* of.values()
  }
}
